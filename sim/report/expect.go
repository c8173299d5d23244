// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
)

// environment is what expectations see: metrics, and nothing else. Its fields are those
// of Metrics, so that a name that is not one of them does not compile.
func environment() (*cel.Env, error) {
	return cel.NewEnv(
		ext.NativeTypes(reflect.TypeFor[Metrics](), ext.ParseStructTag("json")),
		cel.Variable("metrics", cel.ObjectType("report.Metrics")),
		cel.CrossTypeNumericComparisons(true),
	)
}

// Compile says what is wrong with an expectation: CEL that must be true or false.
func Compile(that string) error {
	_, err := compile(that)
	return err
}

func compile(that string) (cel.Program, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(that)
	if issues.Err() != nil {
		var all []string
		for _, e := range issues.Errors() {
			all = append(all, fmt.Sprintf("character %d: %s", e.Location.Column()+1, e.Message))
		}
		return nil, errors.New(strings.Join(all, "; "))
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("is a %s; it must be true or false", ast.OutputType())
	}
	return env.Program(ast)
}

// Result is what became of an expectation.
type Result struct {
	That    string `json:"that"`
	Message string `json:"message"`
	Held    bool   `json:"held"`
	// Error is why it could not be found out, "" when it could.
	Error string `json:"error,omitempty"`
}

// Evaluate is whether an expectation holds.
func (m Metrics) Evaluate(that, message string) Result {
	r := Result{That: that, Message: message}
	program, err := compile(that)
	if err == nil {
		var value any
		if value, err = evaluated(program, m); err == nil {
			r.Held, _ = value.(bool)
		}
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func evaluated(program cel.Program, m Metrics) (any, error) {
	value, _, err := program.Eval(map[string]any{"metrics": m})
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

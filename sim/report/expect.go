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

// environment is what expectations see: metrics, and workloads by their names. Their
// fields are those of Metrics and Workload, so that a name that is not one of them does
// not compile.
func environment() (*cel.Env, error) {
	return cel.NewEnv(
		ext.NativeTypes(reflect.TypeFor[Metrics](), reflect.TypeFor[Workload](), ext.ParseStructTag("json")),
		cel.Variable("metrics", cel.ObjectType("report.Metrics")),
		cel.Variable("workloads", cel.MapType(cel.StringType, cel.ObjectType("report.Workload"))),
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
func (r *Report) Evaluate(that, message string) Result {
	result := Result{That: that, Message: message}
	program, err := compile(that)
	if err == nil {
		var value any
		if value, err = evaluated(program, r); err == nil {
			result.Held, _ = value.(bool)
		}
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func evaluated(program cel.Program, r *Report) (any, error) {
	workloads := map[string]Workload{}
	for _, w := range r.Workloads {
		workloads[w.Name] = w
	}
	value, _, err := program.Eval(map[string]any{"metrics": r.Metrics, "workloads": workloads})
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

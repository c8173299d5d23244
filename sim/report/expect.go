// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// environment is what expectations see: metrics, workloads by their names, and target,
// the report's. Their fields are those of Metrics and Workload, so that a name that is not
// one of them does not compile.
func environment() (*cel.Env, error) {
	return cel.NewEnv(
		ext.NativeTypes(reflect.TypeFor[Metrics](), reflect.TypeFor[Workload](), ext.ParseStructTag("json")),
		cel.Variable("metrics", cel.ObjectType("report.Metrics")),
		cel.Variable("workloads", cel.MapType(cel.StringType, cel.ObjectType("report.Workload"))),
		cel.Variable("target", cel.StringType),
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
	return env.Program(ast, cel.EvalOptions(cel.OptPartialEval))
}

// Result is what became of an expectation.
type Result struct {
	That    string `json:"that"`
	Message string `json:"message"`
	Held    bool   `json:"held"`
	// Skipped is which of the metrics it hangs on cannot be known on the target: whether it
	// held, nobody knows.
	Skipped string `json:"skipped,omitempty"`
	// Error is why it could not be found out, "" when it could.
	Error string `json:"error,omitempty"`
}

// Evaluate is whether an expectation holds. It is skipped when it hangs on a metric that
// is unknown.
func (r *Report) Evaluate(that, message string) Result {
	result := Result{That: that, Message: message}
	program, err := compile(that)
	if err == nil {
		var value any
		value, result.Skipped, err = r.evaluated(program)
		result.Held, _ = value.(bool)
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func (r *Report) evaluated(program cel.Program) (value any, skipped string, err error) {
	workloads := map[string]Workload{}
	for _, w := range r.Workloads {
		workloads[w.Name] = w
	}
	var patterns []*cel.AttributePatternType
	for _, name := range r.Unknown {
		patterns = append(patterns, cel.AttributePattern("metrics").QualString(name))
	}
	vars, err := cel.PartialVars(map[string]any{"metrics": r.Metrics, "workloads": workloads, "target": r.Target}, patterns...)
	if err != nil {
		return nil, "", err
	}
	out, _, err := program.Eval(vars)
	if err != nil {
		return nil, "", err
	}
	if u, ok := out.(*types.Unknown); ok {
		return nil, strings.Join(trails(u), ", ") + " cannot be known on this target", nil
	}
	return out.Value(), "", nil
}

// trails are the names that an outcome hangs on, sorted.
func trails(u *types.Unknown) []string {
	names := map[string]bool{}
	for _, id := range u.IDs() {
		attributes, _ := u.GetAttributeTrails(id)
		for _, a := range attributes {
			names[a.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

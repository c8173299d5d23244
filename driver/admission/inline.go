// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"strconv"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"

	"github.com/podlv/podlv/driver"
)

// inlineVolumes is the policy that says what is wrong with an inline volume, before
// the pod is there: the agent would say it only once the pod has a node. It knows the
// rules of driver/request.go that need no node; the agent checks all of them again. What
// is too large the policy of the pool says.
func (c Config) inlineVolumes() v1.ValidatingAdmissionPolicySpec {
	sizes := map[string]string{}
	var names []string
	byDefault := false
	for _, class := range c.Classes.All() {
		size := ""
		if class.DefaultSize > 0 {
			size = strconv.FormatInt(class.DefaultSize, 10)
		}
		sizes[class.Name] = size
		names = append(names, class.Name)
		if class.Default {
			sizes[""], byDefault = size, true
		}
	}
	noClass := "none is named, and there is no default class"
	if byDefault {
		noClass = "" // cannot be
	}
	return v1.ValidatingAdmissionPolicySpec{
		MatchConditions: []v1.MatchCondition{{Name: "has-inline-volumes", Expression: volumesOfPod + `.exists(v, ` + inlineOnly + `)`}},
		Variables: []v1.Variable{
			{Name: "sizes", Expression: literal(sizes)},
			{Name: "volumes", Expression: volumesOfPod + `.filter(v, ` + inlineOnly + `)`},
			{Name: "keys", Expression: `variables.volumes.map(v, [string(v.name)] + v.csi.?volumeAttributes.orValue({}).map(k, string(k)).filter(k, !(k in [` + quoted(driver.InlineAttributes()) + `]))).filter(x, x.size() > 1)`},
			{Name: "classes", Expression: `variables.volumes.map(v, [string(v.name), string(v.csi.?volumeAttributes[?"class"].orValue(""))]).filter(x, !(x[1] in variables.sizes))`},
			// Of the others, [name, size as it was written or the class's].
			{Name: "asked", Expression: `variables.volumes.map(v, [string(v.name), string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[1] in variables.sizes).map(x, [x[0], x[2] == "" ? variables.sizes[x[1]] : x[2]])`},
			{Name: "words", Expression: `variables.asked.filter(x, x[1] != "" && !isQuantity(x[1]))`},
			{Name: "numbers", Expression: `variables.asked.filter(x, isQuantity(x[1]))`},
			{Name: "small", Expression: `variables.numbers.filter(x, !quantity(x[1]).isGreaterThan(quantity("0")))`},
			{Name: "fractions", Expression: `variables.numbers.filter(x, quantity(x[1]).isGreaterThan(quantity("0")) && quantity(x[1]).isLessThan(quantity("1")))`},
		},
		Validations: []v1.Validation{
			none("keys", `": volumeAttributes: unknown " + variables.keys[0].filter(k, k != variables.keys[0][0]).join(", ") + "; allowed are `+strings.Join(driver.InlineAttributes(), ", ")+`"`),
			none("classes", `": volumeAttributes[class]: " + (variables.classes[0][1] == "" ? `+strconv.Quote(noClass)+` : "\"" + variables.classes[0][1] + "\" is no device class") + "; there are `+strings.Join(names, ", ")+`"`),
			{
				Expression:        `variables.asked.all(x, x[1] != "")`,
				MessageExpression: `"volume " + variables.asked.filter(x, x[1] == "")[0][0] + ": volumeAttributes[size] is missing, and the class has no default size; write a quantity such as 10Gi"`,
			},
			none("words", size("words", "is not a quantity; write 500Mi or 10Gi")),
			none("small", size("small", "must be more than 0")),
			none("fractions", size("fractions", "is less than a byte: m means thousandths; write 100Mi")),
		},
	}
}

// none is a validation that a variable, a list of rows that begin with a volume's name,
// is empty. says is CEL: the end of the message about its first row.
func none(variable, says string) v1.Validation {
	return v1.Validation{
		Expression:        "variables." + variable + ".size() == 0",
		MessageExpression: fmt.Sprintf(`"volume " + variables.%s[0][0] + %s`, variable, says),
	}
}

// size is the end of a message about a size.
func size(variable, what string) string {
	return fmt.Sprintf(`": volumeAttributes[size]: \"" + variables.%s[0][1] + "\" %s"`, variable, what)
}

// quoted is names as the elements of a list in CEL.
func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = strconv.Quote(n)
	}
	return strings.Join(q, ", ")
}

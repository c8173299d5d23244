// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"

	"github.com/podlv/podlv/driver"
)

// charging is what the policies of one pool are made from.
type charging struct {
	pool  driver.Pool
	rates map[string]driver.Rate // by the class's name; "" when the default class is of the pool
	sizes map[string]string      // by the same names: the size in bytes that a volume without one has, or ""
	// claims are StorageClasses' names with the name of a class of the pool.
	claims  map[string]string
	unnamed string // what a claim without a StorageClass's name means
}

func (c Config) charging(pool driver.Pool) charging {
	p := charging{pool: pool, rates: map[string]driver.Rate{}, sizes: map[string]string{}, claims: map[string]string{}, unnamed: c.DefaultStorageClass}
	for _, class := range c.Classes.All() {
		if class.Pool.Name != pool.Name {
			continue
		}
		size := ""
		if class.DefaultSize > 0 {
			size = strconv.FormatInt(class.DefaultSize, 10)
		}
		p.rates[class.Name], p.sizes[class.Name] = class.Rate(), size
		if class.Default {
			p.rates[""], p.sizes[""] = class.Rate(), size
		}
	}
	for name, class := range c.StorageClasses {
		if _, ours := p.rates[class]; ours {
			p.claims[name] = class
		}
	}
	return p
}

func (p charging) name() string             { return "podlv-pool-" + p.pool.Name }
func (p charging) label() map[string]string { return map[string]string{PoolLabel: p.pool.Name} }

// inlineOnly is true of the volumes that are inline volumes of ours.
const inlineOnly = `has(v.csi) && v.csi.driver == "` + driver.Name + `"`

// volumesOfPod is all volumes of the pod: the field may be missing.
const volumesOfPod = `object.spec.?volumes.orValue([])`

// matchConditions keep pods away that have no volume that could be ours, before
// anything is computed.
func (p charging) matchConditions() []v1.MatchCondition {
	ours := inlineOnly
	if len(p.claims) > 0 {
		ours += ` || has(v.ephemeral)`
	}
	return []v1.MatchCondition{
		{Name: "has-volumes", Expression: volumesOfPod + `.exists(v, ` + ours + `)`},
		{Name: "has-containers", Expression: `object.spec.?containers.orValue([]).size() > 0`},
	}
}

// variables compute, in bytes, what the pod's volumes of the pool are charged (total)
// and what its containers ask for (asked).
//
// All is computed in doubles, which hold every whole number up to MaxCharge: Kubernetes'
// CEL can turn "100Ti" or "1.5Gi" into a double, but not into an int. A double of a
// fraction such as 1.1Gi can be wrong in its last bit, and rounding up would make that a
// whole step; so the nearest multiple of the step is compared with the quantity itself.
func (p charging) variables() []v1.Variable {
	return []v1.Variable{
		{Name: "classes", Expression: p.ratesLiteral()},
		{Name: "sizes", Expression: literal(p.sizes)},
		{Name: "claims", Expression: literal(p.claims)},
		{Name: "volumes", Expression: p.volumes()},
		{Name: "valid", Expression: validSizes},
		{Name: "charges", Expression: charges},
		{Name: "total", Expression: `variables.valid ? variables.charges.sum() : 0.0`},
		{Name: "asked", Expression: p.asked()},
	}
}

// volumes is [class, size] of each volume of the pool, as they were written. A claim's
// annotation comes before its field, as in Kubernetes; "" names no StorageClass.
func (p charging) volumes() string {
	inline := volumesOfPod + `.filter(v, ` + inlineOnly + `)
  .map(v, [string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[0] in variables.classes)`
	if len(p.claims) > 0 {
		inline += `
+ ` + volumesOfPod + `.filter(v, has(v.ephemeral) && has(v.ephemeral.volumeClaimTemplate)).map(v, v.ephemeral.volumeClaimTemplate)
  .map(t, [string(t.?metadata.?annotations[?"volume.beta.kubernetes.io/storage-class"].or(t.?spec.?storageClassName).orValue(` + strconv.Quote(p.unnamed) + `)),
    string(t.?spec.?resources.?requests[?"storage"].orValue(""))])
  .filter(x, x[0] in variables.claims).map(x, [variables.claims[x[0]], x[1]])`
	}
	return `(` + inline + `).map(x, [x[0], x[1] == "" ? variables.sizes[x[0]] : x[1]])`
}

// tooLarge is whether a size is more than MaxCharge.
const tooLarge = `isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi"))`

// validSizes is whether all sizes can be computed with.
const validSizes = `variables.volumes.all(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("0")) && !(` + tooLarge + `))`

// charges is what each volume is charged: driver.Class.Charge.
const charges = `variables.volumes.map(x, [x[0], x[1], string(int(quantity(x[1]).asApproximateFloat() / variables.classes[x[0]][0] + 0.5) * int(variables.classes[x[0]][0]))])
  .map(x, [variables.classes[x[0]][0], variables.classes[x[0]][1], variables.classes[x[0]][2], double(x[2]), quantity(x[1]).isGreaterThan(quantity(x[2])) ? 1.0 : 0.0])
  .map(x, (x[3] + x[4] * x[0]) * x[1] + x[2])`

// asked is the request of each container that runs as long as the pod does: those that
// the scheduler adds up. What an ordinary init container asks for does not count.
func (p charging) asked() string {
	return `(object.spec.containers + object.spec.?initContainers.orValue([]).filter(c, c.?restartPolicy.orValue("") == "Always"))
  .map(c, quantity(c.?resources.?requests[?"` + p.pool.Resource() + `"].orValue("0")).asApproximateFloat())
  .map(f, f >= 0.0 && f <= ` + mostCharged + ` ? double(int(f + 0.5)) : f)`
}

// mostCharged is driver.MaxCharge as CEL writes it.
const mostCharged = `9007199254740992.0`

// mutation raises the request of the first container by what is missing. A pod that asks
// for enough, or for what nobody can have, stays as it is.
func (p charging) mutation() string {
	amount := `{"` + p.pool.Resource() + `": string(int(variables.asked[0] + variables.total - variables.asked.sum()))}`
	return `variables.total <= ` + mostCharged + ` && variables.total > variables.asked.sum() && variables.asked.all(f, f >= 0.0)
? Object{spec: Object.spec{containers: [Object.spec.containers{
    name: object.spec.containers[0].name,
    resources: Object.spec.containers.resources{
      requests: ` + amount + `,
      limits: ` + amount + `}}]}}
: Object{}`
}

// validations refuse what the mutating policy could not make right, and a request that
// somebody has made smaller since.
func (p charging) validations() []v1.Validation {
	return []v1.Validation{
		{
			Expression:        `!variables.volumes.exists(x, ` + tooLarge + `)`,
			MessageExpression: fmt.Sprintf(`"a volume of pool %s: size \"" + variables.volumes.filter(x, %s)[0][1] + "\" is more than 8Pi, which is more than Kubernetes can count"`, p.pool.Name, tooLarge),
		},
		{
			Expression:        `variables.total <= ` + mostCharged,
			MessageExpression: fmt.Sprintf(`"the pod's volumes of pool %s take more than 8Pi together, which is more than Kubernetes can count"`, p.pool.Name),
		},
		{
			Expression: `variables.total > ` + mostCharged + ` || variables.asked.sum() >= variables.total`,
			MessageExpression: fmt.Sprintf(`"the pod's containers ask for " + string(int(variables.asked.sum())) + " of %s, and its volumes of pool %s take " + string(int(variables.total)) + " bytes: the request must be no less; leave it out to have it set"`,
				p.pool.Resource(), p.pool.Name),
		},
	}
}

// ratesLiteral is the rates as CEL: name → [step, copies, metadata].
func (p charging) ratesLiteral() string {
	rows := map[string]string{}
	for name, r := range p.rates {
		rows[name] = fmt.Sprintf("[%d.0, %d.0, %d.0]", r.Step, r.Copies, r.Metadata)
	}
	return mapOf(rows)
}

// literal is a map of strings as CEL.
func literal(m map[string]string) string {
	rows := map[string]string{}
	for k, v := range m {
		rows[k] = strconv.Quote(v)
	}
	return mapOf(rows)
}

// mapOf is a map literal of values that are CEL already, sorted by key.
func mapOf(rows map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(rows)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s: %s", strconv.Quote(k), rows[k])
	}
	return "{" + b.String() + "}"
}

// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/lvm"
)

// Class is a device class: what a user asks for.
type Class struct {
	Name    string
	Default bool // of requests that name no class
	Pool    Pool
	// Unit is what sizes are rounded up to, in bytes. The VG's extent divides it,
	// so that the size asked for and the size had are the same on every node.
	Unit          int64
	Layout        lvm.Layout
	Legs          int      // stripes, or copies of raid1; else 0
	DefaultSize   int64    // bytes, for requests without a size; 0: they must have one
	Filesystem    string   // for requests that name none
	MountOptions  []string // for every volume, before the request's own
	MkfsOptions   []string // arguments of mkfs, for every volume
	Wipe          string   // wipeZero or wipeNone: what is done to raw bytes before a tenant gets them
	Overprovision float64  // of a thin pool: sum of virtual sizes over its size
}

// The policies of Class.Wipe.
const (
	wipeZero = "zero"
	wipeNone = "none"
)

// Pool is what a class's volumes are made from on this node.
type Pool struct {
	Name        string
	VolumeGroup string
	ThinPool    string // empty: the VG's own extents
	Reserve     int64  // bytes of free space that podlv leaves alone
	Inline      InlinePool
	// Devices are what the VG is made of, and grows by. None: somebody else makes it.
	Devices []DeviceRule
	Make    ThinPoolSize // how the thin pool is made, and grows
}

// InlinePool is how inline and generic ephemeral volumes share a pool with claims.
type InlinePool struct {
	mode     string
	reserved int64 // bytes that are theirs alone, of mode inlineReserved
}

// The modes of InlinePool.
const (
	inlineShared   = "shared"   // whoever comes first; pods that are bound before claims
	inlineReserved = "reserved" // a part of the pool is theirs, the rest the claims'
	inlineNone     = "none"     // the scheduler is not told of them
)

// Classes is a configuration of device classes: as ParseClasses gives it that of all
// nodes, with each pool as it is on the first of its nodes; as On gives it that of one. It
// does not change.
type Classes struct {
	classes []Class
	pools   []Pool

	all     []Class  // of all nodes
	parts   [][]part // by pool
	unknown bool     // the node's labels are not known yet
}

// classFile is the file's form. Every value is read as text, so that each one
// that is wrong can be reported, not only the first.
type classFile struct {
	Pools   []poolFile `json:"pools"`
	Classes []struct {
		Name          text `json:"name"`
		Default       text `json:"default,omitempty"`
		Pool          text `json:"pool"`
		Unit          text `json:"unit,omitempty"`
		Layout        text `json:"layout,omitempty"`
		Stripes       text `json:"stripes,omitempty"`
		Copies        text `json:"copies,omitempty"`
		DefaultSize   text `json:"defaultSize,omitempty"`
		Filesystem    text `json:"filesystem,omitempty"`
		MountOptions  text `json:"mountOptions,omitempty"`
		MkfsOptions   text `json:"mkfsOptions,omitempty"`
		Wipe          text `json:"wipe,omitempty"`
		Overprovision text `json:"overprovision,omitempty"`
	} `json:"classes"`
}

type poolFile struct {
	Name       text        `json:"name"`
	InlinePool text        `json:"inlinePool,omitempty"`
	Nodes      []nodesFile `json:"nodes,omitempty"`
	partFile   `json:",inline"`
}

// text is a scalar as it was written: 5, "5" and 5Gi are all quantities.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	if data[0] == '{' || data[0] == '[' {
		return fmt.Errorf("%s: a single value is expected", data)
	}
	if string(data) != "null" { // "key:" without a value is as good as no key
		*t = text(bytes.Trim(data, `"`))
	}
	return nil
}

// className is what a class or pool may be called: part of a label and of the
// name of an extended resource.
var className = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

const defaultUnit = 4 * mib

// ParseClasses reads the configuration of device classes, YAML or JSON. Unknown
// and doubled keys are errors. The error names every problem that was found.
func ParseClasses(data []byte) (*Classes, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("device classes: %w", err)
	}
	var file classFile
	strict, err := json.UnmarshalStrict(asJSON, &file)
	if err != nil {
		return nil, fmt.Errorf("device classes: %w", err)
	}
	p := &problems{}
	for _, e := range strict {
		p.add("%w", e)
	}
	c := &Classes{}
	pools := c.readPools(file, p)
	c.readClasses(file, pools, p)
	if err := p.join(); err != nil {
		return nil, fmt.Errorf("device classes: %w", err)
	}
	return c, nil
}

func (c *Classes) readPools(file classFile, p *problems) map[string]Pool {
	if len(file.Pools) == 0 {
		p.add("pools: at least one is needed")
	}
	known := map[string]Pool{}
	taken := map[string]string{}
	for i, f := range file.Pools {
		at := fmt.Sprintf("pools[%d]", i)
		parts := f.readParts(at, p)
		for i := range parts {
			parts[i].Name = string(f.Name)
		}
		pool := parts[0].Pool
		c.parts = append(c.parts, parts)
		if !className.MatchString(pool.Name) {
			p.add("%s.name: %q: must be up to 63 of a-z 0-9 and hyphens inside", at, pool.Name)
		}
		if _, twice := known[pool.Name]; twice {
			p.add("%s.name: %q: another pool has that name", at, pool.Name)
		}
		if len(f.Nodes) == 0 { // of others it depends on the node
			p.once(at, pool, taken)
		}
		known[pool.Name] = pool
		c.pools = append(c.pools, pool)
	}
	return known
}

func (c *Classes) readClasses(file classFile, pools map[string]Pool, p *problems) {
	if len(file.Classes) == 0 {
		p.add("classes: at least one is needed")
	}
	names := map[string]bool{}
	var defaults []string
	for i, f := range file.Classes {
		at := fmt.Sprintf("classes[%d]", i)
		pool, ok := pools[string(f.Pool)]
		if !ok {
			p.add("%s.pool: %q: no such pool; there are %s", at, f.Pool, list(poolNames(pools)))
		}
		class := Class{
			Name: string(f.Name), Default: p.yes(at+".default", f.Default), Pool: pool,
			Unit:        p.quantity(at+".unit", f.Unit, defaultUnit),
			DefaultSize: p.quantity(at+".defaultSize", f.DefaultSize, 0),
			Filesystem:  cmp.Or(string(f.Filesystem), defaultFilesystem),
			Wipe:        cmp.Or(string(f.Wipe), wipeZero),
		}
		if !className.MatchString(class.Name) {
			p.add("%s.name: %q: must be up to 63 of a-z 0-9 and hyphens inside", at, class.Name)
		}
		if names[class.Name] {
			p.add("%s.name: %q: another class has that name", at, class.Name)
		}
		names[class.Name] = true
		if class.Default {
			defaults = append(defaults, class.Name)
		}
		if class.Unit < 512 || class.Unit > 1<<32 || class.Unit&(class.Unit-1) != 0 {
			p.add("%s.unit: %q: must be a power of two from 512 to 4Gi", at, f.Unit)
		}
		class.readLayout(at, string(f.Layout), p.count(at+".stripes", f.Stripes), p.count(at+".copies", f.Copies), ok, p)
		class.readFilesystem(at, string(f.MountOptions), string(f.MkfsOptions), p)
		if class.Wipe != wipeZero && class.Wipe != wipeNone {
			p.add("%s.wipe: %q: must be %s or %s", at, f.Wipe, wipeZero, wipeNone)
		}
		class.readOverprovision(at, f.Overprovision, p)
		c.classes = append(c.classes, class)
	}
	c.all = c.classes
	if len(defaults) > 1 {
		p.add("classes: %s are all the default, only one can be", list(defaults))
	}
}

func (class *Class) readOverprovision(at string, value text, p *problems) {
	class.Overprovision = 1
	if value == "" {
		return
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f < 1 || f > 1000 {
		p.add("%s.overprovision: %s: must be from 1 to 1000", at, value)
		return
	}
	class.Overprovision = f
	if f > 1 && class.Layout != lvm.Thin {
		p.add("%s.overprovision: %s: only a thin pool can promise more than it has", at, value)
	}
}

func (class *Class) readLayout(at, layout string, stripes, copies int, poolKnown bool, p *problems) {
	thin := class.Pool.ThinPool != ""
	class.Layout = lvm.Layout(layout)
	if layout == "" {
		class.Layout = lvm.Linear
		if thin {
			class.Layout = lvm.Thin
		}
	}
	if poolKnown && thin != (class.Layout == lvm.Thin) {
		p.add("%s.layout: %q: a class is thin if, and only if, its pool has a thinPool", at, class.Layout)
	}
	switch class.Layout {
	case lvm.Linear, lvm.Thin:
	case lvm.Striped:
		class.Legs = stripes
	case lvm.RAID1:
		class.Legs = copies
	default:
		p.add("%s.layout: %q: must be linear, striped, raid1 or thin", at, layout)
		return
	}
	if _, err := class.Layout.Allocation(1, defaultUnit, class.Legs); err != nil {
		p.add("%s.layout: %w", at, err)
	}
	if stripes != 0 && class.Layout != lvm.Striped {
		p.add("%s.stripes: %d: only a striped class has stripes", at, stripes)
	}
	if copies != 0 && class.Layout != lvm.RAID1 {
		p.add("%s.copies: %d: only a raid1 class has copies", at, copies)
	}
}

func (class *Class) readFilesystem(at, mountOptions, mkfsOptions string, p *problems) {
	fs, err := filesystemNamed(class.Filesystem)
	if err != nil {
		p.add("%s.filesystem: %w", at, err)
		return
	}
	if class.MountOptions, err = fs.mountOptions(mountOptions); err != nil {
		p.add("%s.mountOptions: %w", at, err)
	}
	if class.MkfsOptions, err = fs.mkfsOptions(mkfsOptions); err != nil {
		p.add("%s.mkfsOptions: %w", at, err)
	}
}

// options are the class's mount and mkfs options for a filesystem: they are for
// the class's own one.
func (class Class) options(fs filesystem) (mount, mkfs []string) {
	if fs.name != class.Filesystem {
		return nil, nil
	}
	return slices.Clone(class.MountOptions), slices.Clone(class.MkfsOptions)
}

// Named finds the class of a request; an empty name asks for the default one.
func (c *Classes) Named(name string) (Class, error) {
	var names []string
	for _, class := range c.classes {
		if class.Name == name || name == "" && class.Default {
			return class, nil
		}
		names = append(names, class.Name)
	}
	if c.unknown {
		return Class{}, fmt.Errorf("%w: class %q: which pools this node has depends on its labels, and they could not be read yet", lvm.ErrUnavailable, name)
	}
	if name == "" {
		return Class{}, fmt.Errorf("%w: class: none is named and this node has no default class; name one of %s", errInvalid, list(names))
	}
	return Class{}, fmt.Errorf("%w: class %q: unknown on this node; there are %s", errInvalid, name, list(names))
}

// of finds the class that a volume was made by.
func (c *Classes) of(h handle, name string) (Class, error) {
	class, err := c.Named(name)
	if name == "" || err != nil {
		return class, fmt.Errorf("%w: volume %s: its class, %q, is not among this node's any more", errCondition, h, name)
	}
	return class, nil
}

// VolumeGroups are the VGs that the pools are on, each once; while the node's labels are
// not known, all that they may be on.
func (c *Classes) VolumeGroups() []string {
	seen := map[string]bool{}
	var names []string
	pools := c.pools
	if c.unknown {
		pools = nil
		for _, parts := range c.parts {
			for _, p := range parts {
				pools = append(pools, p.Pool)
			}
		}
	}
	for _, p := range pools {
		if !seen[p.VolumeGroup] {
			seen[p.VolumeGroup] = true
			names = append(names, p.VolumeGroup)
		}
	}
	return names
}

// Check compares the configuration with the VGs that the node has. The error
// names every problem.
func (c *Classes) Check(groups []lvm.VolumeGroup) error { return c.check(groups, false) }

// fits is Check of classes that are taken up: what the agent will make need not be there.
func (c *Classes) fits(groups []lvm.VolumeGroup) error { return c.check(groups, true) }

func (c *Classes) check(groups []lvm.VolumeGroup, later bool) error {
	p := &problems{}
	found := map[string][]lvm.VolumeGroup{}
	var have []string
	for _, g := range groups {
		found[g.Name] = append(found[g.Name], g)
		have = append(have, g.Name)
	}
	for _, pool := range c.pools {
		g := found[pool.VolumeGroup]
		switch {
		case len(g) == 0 && later && len(pool.Devices) > 0:
			continue
		case len(g) == 0:
			p.add("pool %q: there is no VG %q on this node; there are %s", pool.Name, pool.VolumeGroup, list(have))
			continue
		case len(g) > 1:
			p.add("pool %q: %d VGs are called %q; rename all but one by their UUID (vgrename)", pool.Name, len(g), pool.VolumeGroup)
			continue
		}
		if pool.ThinPool != "" {
			l, ok := g[0].LogicalVolume(pool.ThinPool)
			if !ok && later && pool.Make.Percent > 0 {
				continue
			}
			if !ok || !l.IsThinPool() {
				p.add("pool %q: VG %q has no thin pool %q", pool.Name, pool.VolumeGroup, pool.ThinPool)
				continue
			}
			for _, class := range c.classes {
				if class.Pool.Name == pool.Name {
					p.err(class.wipes(g[0], l))
				}
			}
		}
		for _, class := range c.classes {
			if class.Pool.Name == pool.Name && class.Unit%g[0].ExtentSize != 0 {
				p.add("class %q: its unit, %s, is no multiple of the extent of VG %q, %s: sizes would differ from node to node", class.Name, lvm.FormatSize(class.Unit), g[0].Name, lvm.FormatSize(g[0].ExtentSize))
			}
		}
	}
	return p.join()
}

// problems collects what is wrong, so that it can be said at once.
type problems struct{ errs []error }

func (p *problems) add(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// err adds an error, if it is one.
func (p *problems) err(err error) {
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

func (p *problems) join() error { return errors.Join(p.errs...) }

// quantity reads a Kubernetes quantity of bytes; empty means unset.
func (p *problems) quantity(at string, value text, unset int64) int64 {
	if value == "" {
		return unset
	}
	n, err := parseSize(string(value))
	if err != nil {
		p.add("%s: %w", at, err)
		return unset
	}
	return n
}

// inlinePool reads shared, none or reserved=QUANTITY; empty means shared.
func (p *problems) inlinePool(at, value string) InlinePool {
	mode, quantity, sized := strings.Cut(cmp.Or(value, inlineShared), "=")
	switch {
	case mode == inlineReserved && sized:
		return InlinePool{mode: mode, reserved: p.quantity(at, text(quantity), 0)}
	case (mode == inlineShared || mode == inlineNone) && !sized:
		return InlinePool{mode: mode}
	default:
		p.add("%s: %q: must be shared, none or reserved= and a quantity", at, value)
		return InlinePool{mode: inlineNone}
	}
}

// yes reads true or false; empty means false.
func (p *problems) yes(at string, value text) bool {
	if value != "" && value != "true" && value != "false" {
		p.add("%s: %q: must be true or false", at, value)
	}
	return value == "true"
}

// count reads a small whole number; empty means 0.
func (p *problems) count(at string, value text) int {
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(string(value))
	if err != nil || n < 0 {
		p.add("%s: %q: must be a whole number", at, value)
	}
	return n
}

// parseSize reads a Kubernetes quantity of at least one byte and at most
// lvm.MaxSize. A fraction of a byte beyond that is rounded up, as Kubernetes does:
// 1.1Gi has one.
func parseSize(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is not a quantity; write 500Mi or 10Gi", errInvalid, text)
	}
	if q.Sign() <= 0 {
		return 0, fmt.Errorf("%w: %q: must be more than 0", errInvalid, text)
	}
	if q.Cmp(*resource.NewQuantity(1, resource.BinarySI)) < 0 {
		return 0, fmt.Errorf("%w: %q: is less than a byte: m means thousandths; write 100Mi", errInvalid, text)
	}
	if q.Cmp(*resource.NewQuantity(lvm.MaxSize, resource.BinarySI)) > 0 {
		return 0, fmt.Errorf("%w: %q: an LV cannot be 8 EiB or larger", errRange, text)
	}
	return q.Value(), nil
}

func poolNames(pools map[string]Pool) []string {
	names := make([]string, 0, len(pools))
	for n := range pools {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// list is names for a sentence.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/podlv/podlv/lvm"
)

// partFile is the part of a pool that may differ from node to node: where its space is.
type partFile struct {
	VolumeGroup          text       `json:"volumeGroup"`
	ThinPool             text       `json:"thinPool,omitempty"`
	ThinPoolSize         text       `json:"thinPoolSize,omitempty"`
	ThinPoolMetadataSize text       `json:"thinPoolMetadataSize,omitempty"`
	Reserve              text       `json:"reserve,omitempty"`
	Devices              []ruleFile `json:"devices,omitempty"`
}

// ruleFile is one of the devices of a pool.
type ruleFile struct {
	Path    text `json:"path"`
	Count   text `json:"count,omitempty"`
	MinSize text `json:"minSize,omitempty"`
	Media   text `json:"media,omitempty"`
}

// nodesFile is a part, and the nodes that it is of. Its inlinePool goes before the pool's.
type nodesFile struct {
	Selector   text `json:"selector,omitempty"`
	InlinePool text `json:"inlinePool,omitempty"`
	partFile   `json:",inline"`
}

// part is what a pool is on the nodes that a selector matches.
type part struct {
	selector labels.Selector
	Pool
}

// DeviceRule names devices that a pool's VG is made of, and grows by.
type DeviceRule struct {
	// Path is of one device, or a pattern (path.Match) that matches Count of them.
	Path  string
	Count int // 0: Path is no pattern
	// MinSize in bytes and Media are of the choice: of a pattern, a device that is smaller
	// or of another medium is not among those that it matches. 0 and "": any.
	MinSize int64
	Media   string // mediaSSD, mediaHDD
}

// The media of a DeviceRule, by what the kernel says of a disk (queue/rotational).
const (
	mediaSSD = "ssd"
	mediaHDD = "hdd"
)

// ThinPoolSize is how large a thin pool is made that is not there, and what one that podlv
// made grows to.
type ThinPoolSize struct {
	Percent  int64 // of its VG, metadata included; 0: it is not made
	Metadata int64 // bytes; 0: as LVM would have it
}

// readParts reads where a pool is: the same on all nodes, or by their labels. The first
// is what the pool is taken for where nothing is said of a node.
func (f poolFile) readParts(at string, p *problems) []part {
	inline := p.inlinePool(at+".inlinePool", string(f.InlinePool))
	if len(f.Nodes) == 0 {
		pool := f.partFile.read(at, p)
		pool.Inline = inline
		return []part{{labels.Everything(), pool}}
	}
	if keys := f.partFile.keys(); len(keys) > 0 {
		p.add("%s.%s: the pool has nodes, so that this belongs into each of them", at, strings.Join(keys, ", "))
	}
	var parts []part
	for i, n := range f.Nodes {
		in := fmt.Sprintf("%s.nodes[%d]", at, i)
		selector, err := labels.Parse(string(n.Selector))
		if err != nil {
			p.add("%s.selector: %q: %w", in, n.Selector, err)
			selector = labels.Nothing()
		}
		if i > 0 && parts[i-1].selector.Empty() {
			p.add("%s: is of no node: the one before it has no selector and is of all", in)
		}
		parts = append(parts, part{selector, n.partFile.read(in, p)})
		if (parts[i].ThinPool == "") != (parts[0].ThinPool == "") {
			p.add("%s.thinPool: a pool is a thin pool on all nodes, or on none", in)
		}
		parts[i].Inline = inline
		if n.InlinePool != "" {
			parts[i].Inline = p.inlinePool(in+".inlinePool", string(n.InlinePool))
			if (parts[i].Inline.mode == inlineNone) != (inline.mode == inlineNone) {
				p.add("%s.inlinePool: %q: the scheduler is told of a pool on all nodes or, with none, on none; the pool has %q", in, n.InlinePool, cmp.Or(f.InlinePool, inlineShared))
			}
		}
	}
	return parts
}

// keys are those that are set.
func (f partFile) keys() (keys []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"volumeGroup", f.VolumeGroup != ""},
		{"thinPool", f.ThinPool != ""},
		{"thinPoolSize", f.ThinPoolSize != ""},
		{"thinPoolMetadataSize", f.ThinPoolMetadataSize != ""},
		{"reserve", f.Reserve != ""},
		{"devices", len(f.Devices) > 0},
	} {
		if k.set {
			keys = append(keys, k.name)
		}
	}
	return keys
}

func (f partFile) read(at string, p *problems) Pool {
	pool := Pool{VolumeGroup: string(f.VolumeGroup), ThinPool: string(f.ThinPool), Reserve: p.quantity(at+".reserve", f.Reserve, 0)}
	if err := lvm.ValidateName(pool.VolumeGroup, cmp.Or(pool.ThinPool, "x")); err != nil {
		p.add("%s.volumeGroup or thinPool: %w", at, err)
	}
	pool.Make = f.readThinPoolSize(at, p)
	seen := map[string]int{}
	for i, d := range f.Devices {
		in := fmt.Sprintf("%s.devices[%d]", at, i)
		rule := d.read(in, p)
		if before, twice := seen[rule.Path]; twice {
			p.add("%s.path: %q: is that of devices[%d] already", in, rule.Path, before)
		}
		seen[rule.Path] = i
		pool.Devices = append(pool.Devices, rule)
	}
	return pool
}

// shareOfVG is from 1% to 100%.
var shareOfVG = regexp.MustCompile(`^([1-9][0-9]?|100)%$`)

func (f partFile) readThinPoolSize(at string, p *problems) (size ThinPoolSize) {
	if f.ThinPoolSize != "" {
		switch {
		case f.ThinPool == "":
			p.add("%s.thinPoolSize: %q: is of a thinPool, and none is named", at, f.ThinPoolSize)
		case !shareOfVG.MatchString(string(f.ThinPoolSize)):
			p.add("%s.thinPoolSize: %q: must be a share of the VG, from 1%% to 100%%", at, f.ThinPoolSize)
		default:
			size.Percent, _ = strconv.ParseInt(strings.TrimSuffix(string(f.ThinPoolSize), "%"), 10, 64) // matched
		}
	}
	if f.ThinPoolMetadataSize != "" {
		size.Metadata = p.quantity(at+".thinPoolMetadataSize", f.ThinPoolMetadataSize, 0)
		switch {
		case f.ThinPoolSize == "":
			p.add("%s.thinPoolMetadataSize: %q: is of a thin pool that podlv makes: thinPoolSize is missing", at, f.ThinPoolMetadataSize)
		case size.Metadata != 0 && (size.Metadata < lvm.MinPoolMetadata || size.Metadata > lvm.MaxPoolMetadata):
			p.add("%s.thinPoolMetadataSize: %q: must be from %s to %s", at, f.ThinPoolMetadataSize, lvm.FormatSize(lvm.MinPoolMetadata), lvm.FormatSize(lvm.MaxPoolMetadata))
		}
	}
	return size
}

func (f ruleFile) read(at string, p *problems) DeviceRule {
	r := DeviceRule{Path: string(f.Path), Count: p.count(at+".count", f.Count), MinSize: p.quantity(at+".minSize", f.MinSize, 0), Media: string(f.Media)}
	pattern := strings.ContainsAny(r.Path, `*?[\`)
	_, badPattern := filepath.Match(r.Path, "")
	switch {
	case !strings.HasPrefix(r.Path, "/dev/") || path.Clean(r.Path) != r.Path:
		p.add("%s.path: %q: must be the path of a device, or a pattern, below /dev, without . and ..", at, r.Path)
	case badPattern != nil:
		p.add("%s.path: %q: %w", at, r.Path, badPattern)
	case pattern && r.Count < 1:
		p.add("%s.count: %q: of a pattern it must be how many devices it is to match, exactly", at, f.Count)
	case !pattern && f.Count != "":
		p.add("%s.count: %q: only a pattern has one: this path is of one device", at, f.Count)
	}
	if r.Media != "" && r.Media != mediaSSD && r.Media != mediaHDD {
		p.add("%s.media: %q: must be %s or %s", at, f.Media, mediaSSD, mediaHDD)
	}
	return r
}

// selective says whether the labels of the node decide what its pools are.
func (c *Classes) selective() bool {
	return slices.ContainsFunc(c.parts, func(of []part) bool {
		return slices.ContainsFunc(of, func(p part) bool { return !p.selector.Empty() })
	})
}

// On gives the pools and classes of a node with these labels: of a pool that has nodes
// the first that matches. A pool of which none does is not on that node, nor are its
// classes. The error names pools that would be the same space.
func (c *Classes) On(node map[string]string) (*Classes, error) {
	p := &problems{}
	on := c.place(func(s labels.Selector) bool { return s.Matches(labels.Set(node)) })
	taken := map[string]string{}
	for _, pool := range on.pools {
		p.once(fmt.Sprintf("pool %q", pool.Name), pool, taken)
	}
	return on, p.join()
}

// onUnknown is On of a node whose labels are not known yet: what depends on them is not
// there.
func (c *Classes) onUnknown() *Classes {
	on := c.place(labels.Selector.Empty)
	on.unknown = true
	return on
}

func (c *Classes) place(matches func(labels.Selector) bool) *Classes {
	on := &Classes{parts: c.parts}
	here := map[string]Pool{}
	for _, parts := range c.parts {
		if i := slices.IndexFunc(parts, func(p part) bool { return matches(p.selector) }); i >= 0 {
			here[parts[i].Name] = parts[i].Pool
			on.pools = append(on.pools, parts[i].Pool)
		}
	}
	for _, class := range c.all {
		if pool, ok := here[class.Pool.Name]; ok {
			class.Pool = pool
			on.classes = append(on.classes, class)
		}
	}
	on.all = c.all
	return on
}

// once notes whose space a pool is. Its bytes would be counted twice were it another's.
func (p *problems) once(at string, pool Pool, taken map[string]string) {
	place := pool.VolumeGroup + "/" + pool.ThinPool
	if other, twice := taken[place]; twice {
		p.add("%s: VG %q thin pool %q is pool %q already: its bytes would be counted twice", at, pool.VolumeGroup, pool.ThinPool, other)
	}
	taken[place] = pool.Name
}

// same says whether the classes of a node are those that it has, of one file.
func (c *Classes) same(other *Classes) bool {
	return !other.unknown && slices.EqualFunc(c.pools, other.pools, func(a, b Pool) bool { return reflect.DeepEqual(a, b) })
}

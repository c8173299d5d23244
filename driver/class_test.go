// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/mounttest"
	"github.com/podlv/podlv/lvm"
)

func TestBadClassesNameEveryProblem(t *testing.T) {
	for name, row := range map[string]struct {
		text  string
		words []string
	}{
		"a typo, twice": {`
pools: [{name: ssd, volumeGroup: vg0, reserv: 1Gi}]
classes: [{name: ssd, pool: ssd, defualt: true}]
`, []string{`unknown field "pools[0].reserv"`, `unknown field "classes[0].defualt"`}},
		"a key twice": {`
pools: [{name: ssd, volumeGroup: vg0, name: hdd}]
classes: [{name: ssd, pool: ssd}]
`, []string{`name`}},
		"two defaults": {`
pools: [{name: ssd, volumeGroup: vg0}]
classes: [{name: a, pool: ssd, default: true}, {name: b, pool: ssd, default: true}]
`, []string{"a, b are all the default, only one can be"}},
		"two classes of one name": {`
pools: [{name: ssd, volumeGroup: vg0}]
classes: [{name: a, pool: ssd}, {name: a, pool: ssd}]
`, []string{`classes[1].name: "a": another class has that name`}},
		"everything at once": {`
pools:
- {name: SSD, volumeGroup: "-x", reserve: lots}
- {name: b, volumeGroup: vg1}
- {name: c, volumeGroup: vg1}
classes:
- {name: a, pool: none, unit: 3Mi, layout: raid7, filesystem: fat, wipe: shred, overprovision: 0.5}
- {name: b, pool: b, layout: striped, copies: 2, mountOptions: "suid", defaultSize: -1}
- {name: c, pool: b, layout: thin, overprovision: 2}
`, []string{
			`pools[0].name: "SSD"`, `pools[0].volumeGroup or thinPool: invalid: VG name "-x" begins with a hyphen`, `pools[0].reserve: `,
			`pools[2]: VG "vg1" thin pool "" is pool "b" already`, `classes[0].pool: "none": no such pool`, `classes[0].unit: "3Mi"`,
			`classes[0].layout: "raid7"`, `classes[0].filesystem: `, `classes[0].wipe: "shred"`, `classes[0].overprovision: 0.5`,
			`classes[1].layout: invalid: 0 stripes`, `classes[1].copies: 2: only a raid1 class`, `classes[1].mountOptions: `, `classes[1].defaultSize: `,
			`classes[2].layout: "thin": a class is thin if, and only if, its pool has a thinPool`,
		}},
		"nothing": {``, []string{"pools: at least one is needed", "classes: at least one is needed"}},
		"no YAML": {"classes: [", []string{"yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := driver.ParseClasses([]byte(row.text))
			require.Error(t, err)
			for _, w := range row.words {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

func TestKeyWithoutValueIsNoKey(t *testing.T) {
	_, err := driver.ParseClasses([]byte("pools:\n- name: ssd\n  volumeGroup: vg0\n  thinPool:\nclasses:\n- name: ssd\n  pool: ssd\n"))
	require.NoError(t, err, "thinPool is not called null")
}

func TestClassesAreComparedWithTheNode(t *testing.T) {
	c, err := driver.ParseClasses([]byte(`
pools: [{name: ssd, volumeGroup: vg0}, {name: gone, volumeGroup: vg7}, {name: thin, volumeGroup: vg0, thinPool: pool}]
classes: [{name: ssd, pool: ssd, unit: 1Mi}]
`))
	require.NoError(t, err)
	err = c.Check([]lvm.VolumeGroup{{Name: "vg0", ExtentSize: 4 << 20}})
	require.ErrorContains(t, err, `pool "gone": there is no VG "vg7" on this node; there are vg0`)
	require.ErrorContains(t, err, `class "ssd": its unit, 1Mi, is no multiple of the extent of VG "vg0", 4Mi`)
	require.ErrorContains(t, err, `VG "vg0" has no thin pool "pool"`)
	err = c.Check([]lvm.VolumeGroup{{Name: "vg0", ExtentSize: 1 << 20}, {Name: "vg0", ExtentSize: 1 << 20}})
	require.ErrorContains(t, err, `2 VGs are called "vg0"`)
}

func TestClassesAreTakenUpWhenTheyChange(t *testing.T) {
	n := newFakeNode(t)
	file := filepath.Join(t.TempDir(), "classes.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(onePool)
	source, err := driver.LoadClasses(file)
	require.NoError(t, err)
	n.classes = source
	var log bytes.Buffer
	n.log = &log
	n.restart()
	gold := newVolume("web", "64Mi").with("class", "gold")
	requireCode(t, n.publish(gold), codes.InvalidArgument)

	for _, wrong := range []string{
		strings.Replace(onePool, "default: true", "default: ture", 1),
		strings.Replace(onePool, "vg0", "vg9", 1), // right in itself, and not on this node
	} {
		log.Reset()
		write(wrong)
		n.agent.Reload(context.Background())
		require.Contains(t, log.String(), "the old ones hold")
		require.NoError(t, n.publish(newVolume("still", "64Mi")))
	}
	write(strings.Replace(onePool, "[{name: ssd, pool", "[{name: gold, pool", 1))
	n.agent.Reload(context.Background())
	require.NoError(t, n.publish(gold))

	require.NoError(t, os.Remove(file))
	n.agent.Reload(context.Background())
	require.NoError(t, n.publish(newVolume("more", "64Mi").with("class", "gold")))
	_, err = driver.LoadClasses(file)
	require.ErrorContains(t, err, "no such file")
}

// A file that is right but names a VG that is late is taken up when the VG comes.
func TestClassesWaitForTheirVolumeGroup(t *testing.T) {
	n := newFakeNode(t)
	file := filepath.Join(t.TempDir(), "classes.yaml")
	require.NoError(t, os.WriteFile(file, []byte(onePool), 0o600))
	source, err := driver.LoadClasses(file)
	require.NoError(t, err)
	n.classes = source
	n.restart()
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(onePool, "vg0", "late", 1)), 0o600))
	n.agent.Reload(context.Background())
	require.NoError(t, n.publish(newVolume("a", "64Mi")))
	require.NoError(t, n.unpublish(newVolume("a", "64Mi")))
	n.lvm("vgrename", "vg0", "late")
	n.agent.Reload(context.Background())
	require.NoError(t, n.publish(newVolume("b", "64Mi")))
}

func TestSocketInUse(t *testing.T) {
	n := newFakeNode(t)
	socket := filepath.Join(t.TempDir(), "sub", "csi.sock")
	fake := mounttest.Fake{Host: n.host}
	config := driver.Config{
		NodeName: "node1", Socket: socket, Classes: n.classes, Runner: n.host, Stamp: n.host.Stamp, Mounter: fake, Devices: fake, Filesystem: fake,
		Reaper: driver.ReaperConfig{}, Clock: n.clock, Log: slog.New(slog.DiscardHandler),
	}
	run := func(ctx context.Context) chan error {
		d, err := driver.New(config)
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		return done
	}
	ctx, stop := context.WithCancel(context.Background())
	first := run(ctx)
	dial(t, socket)
	require.ErrorContains(t, <-run(context.Background()), "is in use: another process answers on it")
	stop()
	require.NoError(t, <-first)

	require.NoError(t, os.RemoveAll(socket))
	require.NoError(t, os.WriteFile(socket, []byte("mine"), 0o600))
	require.ErrorContains(t, <-run(context.Background()), "not a socket is there; it is left alone")
}

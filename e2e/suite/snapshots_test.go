// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

// blocks is a shell program that writes one file after the other to /fs/blocks. The name
// of each is its number and the sum of what it has, and it has that name when its bytes are
// on the disk. "synced N" says that the folder has all files to N, for good.
const blocks = `
mkdir -p /fs/blocks
n=$(ls /fs/blocks | wc -l)
while [ $n -lt 3000 ]; do
  n=$((n + 1))
  head -c 16384 /dev/urandom >/fs/part; sync /fs/part
  mv /fs/part /fs/blocks/$n-$(sha256sum </fs/part | cut -c1-16); sync /fs/blocks
  echo "synced $n"
done
`

// whole is a shell program that reads them, and says how many there are in a row from 1,
// or which one is not whole.
const whole = `
n=0
while f=$(ls /fs/blocks/$((n + 1))-* 2>/dev/null); do
  n=$((n + 1))
  [ "${f##*-}" = "$(sha256sum <$f | cut -c1-16)" ] || { echo "broken $f"; exit 1; }
done
echo "whole $n"
`

// A snapshot is taken while a pod writes. What the pod had synced before is in what is
// restored from it, no file is half there, and the filesystem is sound; the pod goes on.
func TestSnapshotUnderLoad(t *testing.T) {
	needs(t, oneMoment)
	for _, class := range []string{"ssd", "thin"} {
		t.Run(class, func(t *testing.T) {
			c := newCase(t)
			c.claim("source", class, "128Mi", corev1.PersistentVolumeFilesystem)
			c.create(c.shell("writer", blocks, "source"))
			c.until("the pod writes", func() error { return c.synced("writer", 20) })
			before := c.lastSynced("writer")
			c.apply(snapshotOf("source"))
			c.until("the snapshot is ready", func() error {
				ready, err := the.Kubectl(c.ctx, nil, "get", "volumesnapshot", "-n", c.namespace, "source", "-o", "jsonpath={.status.readyToUse} {.status.error.message}")
				if err == nil && !strings.HasPrefix(ready, "true") {
					err = fmt.Errorf("it says %q", ready)
				}
				return err
			})
			after := c.lastSynced("writer")
			c.until("the pod goes on", func() error { return c.synced("writer", after+20) })

			restore := claimSpec(class, "128Mi", corev1.PersistentVolumeFilesystem)
			group := "snapshot.storage.k8s.io"
			restore.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: "source"}
			_, err := the.Client.CoreV1().PersistentVolumeClaims(c.namespace).Create(c.ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "restore"}, Spec: restore}, metav1.CreateOptions{})
			require.NoError(t, err)
			c.create(c.shell("reader", whole, "restore"))
			restored := c.whole("reader")
			t.Logf("synced when the snapshot was asked for: %d, when it was there: %d, in the restore: %d", before, after, restored)
			require.GreaterOrEqual(t, restored, before, "files that were synced before the snapshot")
			require.LessOrEqual(t, restored, after+1, "files that were written after the snapshot") // one may have its name, and not be told of

			n := c.nodeOf("reader")
			lv := c.volumeOf("restore")
			c.removePod("reader")
			c.until("the restore is in use no more", func() error { return c.closed(n, lv) })
			check := c.run(n, "lvchange -ay "+lv+" && e2fsck -fn /dev/"+lv+" 2>&1; echo status $?; lvchange -an "+lv)
			require.Regexp(t, `(?m)^status 0$`, check)

			c.removePod("writer")
			c.create(c.shell("again", whole, "source"))
			require.GreaterOrEqual(t, c.whole("again"), after+20)
		})
	}
}

// shell is a pod that runs a shell program, with a claim's filesystem at /fs, and waits.
func (c *kase) shell(name, script, claim string) *corev1.Pod {
	p := c.pod(name, claimed(claim, false))
	p.Spec.Containers[0].Args[0] = "trap exit TERM\n(" + script + ") & wait\nsleep infinity & wait\n"
	p.Spec.Containers[0].VolumeMounts[0].MountPath = "/fs"
	return p
}

func snapshotOf(claim string) string {
	return `apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: ` + claim + `}
spec: {volumeSnapshotClassName: podlv, source: {persistentVolumeClaimName: ` + claim + `}}
`
}

// apply applies manifests in the case's namespace.
func (c *kase) apply(manifests string) {
	c.Helper()
	_, err := the.Kubectl(c.ctx, strings.NewReader(manifests), "apply", "--server-side", "--namespace", c.namespace, "-f", "-")
	require.NoError(c, err)
}

// log is what a pod's container has said.
func (c *kase) log(pod string) (string, error) {
	if err := c.running(pod, time.Time{}); err != nil {
		return "", err
	}
	out, err := the.Client.CoreV1().Pods(c.namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(c.ctx)
	return string(out), err
}

var syncedLine = regexp.MustCompile(`(?m)^synced (\d+)\n`)

// lastSynced is the number of the last file that a pod has synced (blocks).
func (c *kase) lastSynced(pod string) int {
	c.Helper()
	said, err := c.log(pod)
	require.NoError(c, err)
	last := 0
	for _, m := range syncedLine.FindAllStringSubmatch(said, -1) {
		last, err = strconv.Atoi(m[1])
		require.NoError(c, err)
	}
	return last
}

// synced is nil when a pod has synced so many files.
func (c *kase) synced(pod string, files int) error {
	c.Helper()
	said, err := c.log(pod)
	if err == nil && !strings.Contains(said, fmt.Sprintf("synced %d\n", files)) {
		err = fmt.Errorf("it says %q", said[max(0, len(said)-200):])
	}
	return err
}

// whole waits until a pod has read the files (whole), and gives their number.
func (c *kase) whole(pod string) (files int) {
	c.Helper()
	c.until(pod+" has read all files", func() error {
		said, err := c.log(pod)
		if err != nil {
			return err
		}
		require.NotContains(c, said, "broken")
		_, err = fmt.Sscanf(said, "whole %d", &files)
		return err
	})
	return files
}

// volumeOf is the LV of a claim, VG/LV.
func (c *kase) volumeOf(claim string) string {
	c.Helper()
	o, err := the.Client.CoreV1().PersistentVolumeClaims(c.namespace).Get(c.ctx, claim, metav1.GetOptions{})
	require.NoError(c, err)
	v, err := the.Client.CoreV1().PersistentVolumes().Get(c.ctx, o.Spec.VolumeName, metav1.GetOptions{})
	require.NoError(c, err)
	return v.Spec.CSI.VolumeHandle
}

// closed is nil when nobody has an LV open: kubelet lets go of a claim's after its pod is
// gone.
func (c *kase) closed(n *cluster.Node, lv string) error {
	c.Helper()
	if open := c.run(n, "lvs --noheadings -o lv_device_open "+lv); open != "" {
		return fmt.Errorf("%s is %s", lv, open)
	}
	return nil
}

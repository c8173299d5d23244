// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Every kind of volume with every filesystem, in one pod: new at first, kept when the
// container starts again; what claims have is kept for another pod, and nothing else is.
func TestEveryKindOfVolume(t *testing.T) {
	c := newCase(t)
	for name, class := range map[string]string{"ext4": "ssd", "xfs": "ssd-xfs", "btrfs": "ssd-btrfs", "thin": "thin"} {
		c.claim("claim-"+name, class, "320Mi", corev1.PersistentVolumeFilesystem)
	}
	c.claim("raw", "ssd", "64Mi", corev1.PersistentVolumeBlock)
	c.claim("raw-thin", "thin", "64Mi", corev1.PersistentVolumeBlock)
	claims := []volume{claimed("claim-ext4", false), claimed("claim-xfs", false), claimed("claim-btrfs", false), claimed("claim-thin", false), claimed("raw", true), claimed("raw-thin", true)}
	own := []volume{
		inline("inline-ext4", "ext4", "64Mi"), inline("inline-xfs", "xfs", "320Mi"), inline("inline-btrfs", "btrfs", "160Mi"),
		inline("inline-thin", "ext4", "64Mi", "class", "thin"), ephemeral("ephemeral", "ssd", "64Mi"), ephemeral("ephemeral-thin", "thin", "64Mi"),
	}
	said := c.start(c.pod("one", append(own, claims...)...))
	c.fresh(said, len(own)+len(claims))

	restarted := time.Now().Add(time.Second) // the API's times are whole seconds
	time.Sleep(time.Second)
	_, _ = the.Kubectl(c.ctx, nil, "exec", "-n", c.namespace, "one", "--", "kill", "1") // it ends with the container
	c.podRestarts("one", restarted)
	require.Equal(t, kept(said), c.says("one", restarted), "the container was started again")

	c.removePod("one")
	later := c.start(c.pod("two", append(own, claims...)...))
	for v, s := range later {
		if strings.HasPrefix(v, "claim-") || strings.HasPrefix(v, "raw") {
			require.Equal(t, kept(said)[v], s, v)
		} else {
			require.True(t, strings.HasPrefix(s, "new "), "%s: %s", v, s)
		}
	}
}

// podRestarts gives a pod whose container has ended another one at once: kubelet waits
// longer and longer.
func (c *kase) podRestarts(pod string, since time.Time) {
	c.Helper()
	c.until("the container of "+pod+" is started again", func() error { return c.running(pod, since) })
}

// A claim grows while its pod writes to it, and what was written is there.
func TestClaimGrowsUnderLoad(t *testing.T) {
	for class, size := range map[string]string{"ssd": "128Mi", "ssd-xfs": "320Mi"} {
		t.Run(class, func(t *testing.T) {
			if class == "ssd" {
				needs(t, ext4Growth)
			}
			c := newCase(t)
			c.claim("fs", class, size, corev1.PersistentVolumeFilesystem)
			p := c.pod("writer", claimed("fs", false))
			p.Spec.Containers[0].Args[0] = strings.Replace(p.Spec.Containers[0].Args[0], "echo done\n", `echo done
(n=0; while true; do head -c 65536 /dev/urandom >/fs/load.$((n % 8)); sync /fs/load.$((n % 8)); n=$((n + 1)); done) &
`, 1)
			said := c.start(p)
			claims := the.Client.CoreV1().PersistentVolumeClaims(c.namespace)
			claim, err := claims.Get(c.ctx, "fs", metav1.GetOptions{})
			require.NoError(t, err)
			claim.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("512Mi")
			_, err = claims.Update(c.ctx, claim, metav1.UpdateOptions{})
			require.NoError(t, err)
			c.until("the claim has grown", func() error {
				claim, err := claims.Get(c.ctx, "fs", metav1.GetOptions{})
				if err == nil && claim.Status.Capacity.Storage().String() != "512Mi" {
					err = fmt.Errorf("it has %s", claim.Status.Capacity.Storage())
				}
				return err
			})
			has, err := the.Kubectl(c.ctx, nil, "exec", "-n", c.namespace, "writer", "--", "df", "-m", "/fs")
			require.NoError(t, err)
			require.Regexp(t, ` 4[4-9][0-9] `, has, "MiB that the pod has")
			c.removePod("writer")
			require.Equal(t, kept(said), c.start(c.pod("reader", claimed("fs", false))))
		})
	}
}

// What a pod may not say is refused when it is made, by name; nothing is made for it.
func TestWhatAPodMayNotSay(t *testing.T) {
	c := newCase(t)
	for name, v := range map[string]struct {
		volume volume
		words  string
	}{
		"path":    {inline("v", "ext4", "64Mi", "path", "/etc"), "path"},
		"vg":      {inline("v", "ext4", "64Mi", "volumeGroup", "ssd"), "volumeGroup"},
		"mkfs":    {inline("v", "ext4", "64Mi", "mkfs-options", "journal_dev=/dev/ubda"), "journal_dev"},
		"mount":   {inline("v", "ext4", "64Mi", "mount-options", "noatime,suid"), "suid"},
		"size":    {inline("v", "ext4", "64MB4"), "size"},
		"none":    {inline("v", "ext4", "0"), "size"},
		"fstype":  {inline("v", "ntfs", "64Mi"), "ntfs"},
		"noclass": {inline("v", "ext4", "64Mi", "class", "gold"), "gold"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := the.Client.CoreV1().Pods(c.namespace).Create(c.ctx, c.pod(name, v.volume), metav1.CreateOptions{})
			if err != nil {
				require.ErrorContains(t, err, v.words)
				return
			}
			c.event("Pod", name, v.words) // the node refuses what no policy can know
			c.removePod(name)
		})
	}
}

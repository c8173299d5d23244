// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/lab"
)

//go:embed claims.yaml
var claimsManifest string

// grown is what the claims of pods.yaml grow to; the first is no multiple of an extent.
var grown = map[string]string{"claim": "200M", "raw": "96Mi"}

// growAndRestore grows the claims under the pod that uses them, takes a snapshot of one,
// and restores that into a larger one.
func (d *demo) growAndRestore(ctx context.Context) error {
	d.note("growing both claims while the pod uses them; taking a snapshot of one; restoring it to 256Mi, for a pod of its own")
	for _, component := range []string{"controller", "snapshot-controller"} {
		if err := d.WaitPods(ctx, lab.Namespace, "app.kubernetes.io/component="+component, 1); err != nil {
			return err
		}
	}
	for _, claim := range []string{"claim", "raw"} {
		if _, err := d.Kubectl(ctx, nil, "patch", "pvc", claim, "-p", `{"spec":{"resources":{"requests":{"storage":"`+grown[claim]+`"}}}}`); err != nil {
			return err
		}
	}
	if err := d.waitGrown(ctx, "ext4", grown); err != nil {
		return err
	}
	size, err := d.node.Run(ctx, "sh", "-c", "df -h --output=size,target | grep globalmount | head -1 | awk '{print $1}'")
	if err != nil {
		return err
	}
	raw, err := d.node.Run(ctx, "lvs", "--noheadings", "--units", "m", "-o", "lv_size", "demo", "--select", "lv_tags=podlv.pvc=default/raw")
	if err != nil {
		return err
	}
	d.note("they have grown: the filesystem has %s on the node, the raw block device %s", strings.TrimSpace(size), strings.TrimSpace(raw))
	if _, err := d.Kubectl(ctx, strings.NewReader(claimsManifest), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := d.WaitPods(ctx, "default", "demo=restored", 1); err != nil {
		return err
	}
	said, err := d.WaitLog(ctx, "default", "restored", "\ndone\n")
	if err != nil {
		return err
	}
	was, is := strings.Fields(line(d.said["ext4"], "  /data/file")), strings.Fields(line(said, "  /data/file"))
	if len(was) == 0 || len(is) == 0 || was[0] != is[0] {
		return fmt.Errorf("the restored claim does not have the data of its source: that had %v, it says: %s", was, said)
	}
	d.said["restored"] = said
	d.note("a pod has the restored claim, with the same bytes and more room, while the source is mounted, too:")
	if err := d.show(dfHeader, "restored", "% /data"); err != nil {
		return err
	}
	// It need not come back after the power cut; its claim stays.
	_, err = d.Kubectl(ctx, nil, "delete", "pod", "restored", "--wait=false")
	return err
}

// waitGrown waits until kubelet has grown all these claims of a pod. It looks for claims
// to grow when it syncs a pod, which may be a minute and a half from now, or when the pod
// changes: so that is what happens.
func (d *demo) waitGrown(ctx context.Context, pod string, sizes map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	told := false
	for {
		all, err := d.Client.CoreV1().PersistentVolumeClaims("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("wait for claims to grow: %w", err)
		}
		done, ready := 0, 0
		for _, c := range all.Items {
			want, err := resource.ParseQuantity(sizes[c.Name])
			if err != nil {
				continue // not one of them
			}
			if has := c.Status.Capacity[corev1.ResourceStorage]; has.Cmp(want) >= 0 {
				done++
			} else if c.Status.AllocatedResourceStatuses[corev1.ResourceStorage] == corev1.PersistentVolumeClaimNodeResizePending {
				ready++
			}
		}
		if done == len(sizes) {
			return nil
		}
		if !told && done+ready == len(sizes) {
			if _, err := d.Kubectl(ctx, nil, "annotate", "pod", pod, "demo/claims=grown"); err != nil {
				return err
			}
			told = true
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/types"
)

// publication is a volume that is published for a pod.
type publication struct {
	handle string
	pod    types.UID
}

// publishedAt keeps what is published at a target; forgetAt forgets it.
func (k *Kubelet) publishedAt(target string, p publication) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.published[target] = p
}

func (k *Kubelet) forgetAt(target string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.published, target)
}

// stats asks for the statistics of every published volume once a period, one after
// another, until ctx ends.
func (k *Kubelet) stats(ctx context.Context) {
	for k.sleep(ctx, nil, k.StatsPeriod) {
		k.mu.Lock()
		all := maps.Clone(k.published)
		k.mu.Unlock()
		for target, p := range all {
			err := k.call(ctx, "NodeGetVolumeStats", p.pod, p.handle, func(ctx context.Context) error {
				_, err := k.agent.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: p.handle, VolumePath: target})
				return err
			})
			if err != nil && ctx.Err() == nil { // it may have been unpublished meanwhile
				k.Log.Info("no statistics of a volume", "node", k.node, "volume", p.handle, "error", err)
			}
		}
	}
}

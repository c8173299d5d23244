// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// stats asks for the statistics of every published volume once a period, one after
// another, until ctx ends.
func (k *Kubelet) stats(ctx context.Context) {
	for k.StatsPeriod > 0 && k.sleep(ctx, nil, k.StatsPeriod) {
		for _, p := range k.volumes.published() {
			err := k.call(ctx, "NodeGetVolumeStats", p.pod, p.handle, func(ctx context.Context, agent csi.NodeClient) error {
				_, err := agent.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: p.handle, VolumePath: p.path})
				return err
			})
			if err != nil && ctx.Err() == nil { // it may have been unpublished meanwhile
				k.Log.Info("no statistics of a volume", "node", k.node, "volume", p.handle, "error", err)
			}
		}
	}
}

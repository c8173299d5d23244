// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
)

// zero writes zeros over a raw block volume, and then takes off the LV the tag that
// says that it must be done. A process that dies
// over it leaves the tag, and whoever wants the volume next begins again.
func (p *persistent) zero(ctx context.Context, v persistentVolume) error {
	return p.jobs.run(ctx, v.handle, "its old bytes are being zeroed", func(ctx context.Context) error {
		if !v.active {
			if err := p.lvm.Activate(ctx, v.handle.VG, v.handle.LV); err != nil {
				return err
			}
		}
		if err := p.devices.Zero(ctx, v.handle.device(), 0, v.size); err != nil {
			return fmt.Errorf("%w: zero volume %s: %w", errStays, v.handle, err)
		}
		if err := p.lvm.Tag(ctx, v.handle.VG, nil, []string{tagZeroing}, v.handle.LV); err != nil {
			return fmt.Errorf("%w: %w", errStays, err)
		}
		return nil
	})
}

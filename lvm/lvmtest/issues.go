// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// What went wrong once, each with what was seen.
var issueContracts = []contract{
	{"a size that is no multiple of a sector", func(f *fixture) {
		// lvm2 2.03.16: "Size is not a multiple of 512. Try using 0 or 512.", exit 3.
		// A CSI request may ask for any number of bytes.
		f.vg(group)
		require.Equal(f.t, 4*mib, f.create(lvm.Spec{Name: "a", Size: 1}).Size)
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 4*mib+1))
		require.Equal(f.t, 8*mib, f.lv(group, "a").Size)
	}},
}

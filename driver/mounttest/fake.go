// SPDX-License-Identifier: Apache-2.0

package mounttest

import "github.com/podlv/podlv/sim/fakemount"

// Fake is the mounts and devices of a fake machine.
type Fake = fakemount.Fake

// SPDX-License-Identifier: Apache-2.0

// Package record is a CSI driver that writes down how kubelet uses it. It makes no
// volumes: what it publishes is a folder, or a device, that is there. Calls fail, or take
// long, as it is told to, and it comes and goes as drivers do.
//
// There are only a Driver, the Machine that it mounts on, the Call that it keeps, the
// Rule that it follows, and a Remote that uses a Driver in another process.
package record

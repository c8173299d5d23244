// SPDX-License-Identifier: Apache-2.0

package cluster

import "os"

// runtimePath is where a node's containers find their runtime.
const runtimePath = "/run/oci-runtime"

// runtimeScript is crun, which starts a container several times faster than runc does
// where each page fault and system call is dear. That of Debian 12 refuses what
// containerd 2 writes for its version, though it knows all that is in it.
const runtimeScript = `#!/bin/busybox sh
bundle=
for word; do
	[ "$bundle" != next ] || { bundle=$word; break; }
	[ "$word" != --bundle ] || bundle=next
done
[ -z "$bundle" ] || busybox sed -i 's/"ociVersion":"[^"]*"/"ociVersion":"1.0.2"/' "$bundle/config.json"
exec crun "$@"
`

// makeRuntime puts it there.
func makeRuntime() error { return os.WriteFile(runtimePath, []byte(runtimeScript), 0o755) }

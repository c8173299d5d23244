// SPDX-License-Identifier: Apache-2.0

package cluster

import "os"

// runtimePath is where a node's containers find their runtime.
const runtimePath = "/run/oci-runtime"

// runtimeScript is crun, which starts a container several times faster than runc does
// where each page fault and system call is dear. That of Debian 12 refuses what
// containerd 2 writes for its version, though it knows all that is in it. And of a container
// that is gone it does not say "does not exist", by which containerd knows: where a deletion
// took longer than the ten seconds that containerd waits, the container would be killed again
// and again, and its pod stay for ever (containerd 2.4, cmd/containerd-shim-runc-v2/process).
const runtimeScript = `#!/bin/busybox sh
bundle= ends=
for word; do
	[ "$bundle" != next ] || { bundle=$word; break; }
	case $word in
	--bundle) bundle=next ;;
	kill | delete) ends=yes; break ;;
	exec) break ;; # what follows is another's
	esac
done
[ -z "$bundle" ] || busybox sed -i 's/"ociVersion":"[^"]*"/"ociVersion":"1.0.2"/' "$bundle/config.json"
[ -n "$ends" ] || exec crun "$@"
said=$(crun "$@" 2>&1) && code=0 || code=$?
[ -z "$said" ] || echo "$said" >&2
case $said in
*"/status"*": No such file or directory"* | *"cannot open directory "*": No such file or directory"*) echo "the container does not exist" >&2 ;;
esac
exit "$code"
`

// makeRuntime puts it there.
func makeRuntime() error { return os.WriteFile(runtimePath, []byte(runtimeScript), 0o755) }

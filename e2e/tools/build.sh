#!/usr/bin/env bash
# Build the programs of a Kubernetes cluster from their Go modules, static, once.
#
#   build.sh [DIR [upstream|kind|kind-node]]   DIR defaults to ${PODLV_CACHE:-$HOME/.cache/podlv}/bin
#
# Result: kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl
# containerd containerd-shim-runc-v2 ctr etcd csi-resizer snapshot-controller helm, and with
# "upstream" also e2e.test agnhost ginkgo; with "kind", which has the rest in its nodes, only
# kubectl, csi-resizer, snapshot-controller and helm; "kind-node", what such a node has,
# kubeadm besides. The versions are pinned by the go.mod in
# the folder of each. About 7 minutes on 2 cores the first time, 6 more for "upstream"; what
# has not changed since is not built again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-${PODLV_CACHE:-$HOME/.cache/podlv}/bin}
mkdir -p "$out"
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly" GOWORK=off

# build MODULE ARGUMENTS... is go build of what the module pins, unless it was: which says a
# file named after mark, else after the module.
build() {
  local module=$1 mark=${mark:-$1} want
  shift
  want=$(cat "$here/$module/go.mod" "$here/$module/go.sum" <(go version) <(echo "$@") | sha256sum)
  if [ "$(cat "$out/.$mark-built-from" 2>/dev/null)" = "$want" ]; then return; fi
  echo "building $module into $out (once; Kubernetes takes 5 minutes on 2 cores)" >&2
  (cd "$here/$module" && go build "$@")
  echo "$want" >"$out/.$mark-built-from"
}

v=$(cd "$here/kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${v#v1.}
minor=${minor%%.*}
p=k8s.io/component-base/version
ld="-s -w -X $p.gitVersion=$v -X $p.gitMajor=1 -X $p.gitMinor=$minor -X $p.gitTreeState=clean -X $p.gitCommit=$(printf '0%.0s' {1..40}) -X $p.buildDate=1970-01-01T00:00:00Z -X k8s.io/client-go/pkg/version.gitVersion=$v"
# Where the whole was built before, it is kept current: its kubectl is the one.
if [ "${2:-}" = kind ] && [ ! -f "$out/.kubernetes-built-from" ]; then
  mark=kubectl build kubernetes -ldflags "$ld" -o "$out/" k8s.io/kubernetes/cmd/kubectl
else
  build kubernetes -ldflags "$ld" -o "$out/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl}
fi
if [ "${2:-}" != kind ]; then
  build containerd -tags "no_btrfs no_zfs no_aufs no_devmapper" -ldflags "-s -w" -o "$out/" \
    github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
  build etcd -ldflags "-s -w" -o "$out/etcd" go.etcd.io/etcd/server/v3
fi
if [ "${2:-}" = kind-node ]; then
  mark=kubeadm build kubernetes -ldflags "$ld" -o "$out/" k8s.io/kubernetes/cmd/kubeadm
fi
build sidecars -ldflags "-s -w" -o "$out/" github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer \
  github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller
build helm -ldflags "-s -w" -o "$out/helm" helm.sh/helm/v3/cmd/helm

# The tests of Kubernetes, the program of their pods' image, and what runs them in
# parallel. They are built beside and moved: nobody sees half a program.
if [ "${2:-}" = upstream ]; then
  part=$(mktemp -d "$out/.upstream.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  want=$(cat "$here/upstream/go.mod" "$here/upstream/go.sum" <(go version) <(echo "$ld") | sha256sum)
  if [ "$(cat "$out/.upstream-built-from" 2>/dev/null)" != "$want" ]; then
    echo "building upstream into $out (once; 6 minutes on 2 cores)" >&2
    (cd "$here/upstream" && go build -ldflags "$ld" -o "$part/" k8s.io/kubernetes/test/images/agnhost github.com/onsi/ginkgo/v2/ginkgo)
    (cd "$here/upstream" && go test -c -ldflags "$ld" -o "$part/e2e.test" k8s.io/kubernetes/test/e2e)
    mv "$part"/* "$out/"
    echo "$want" >"$out/.upstream-built-from"
  fi
fi

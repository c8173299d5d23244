#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make an image for kind's nodes without a registry: Debian packages are its root file
# system, the pinned Go modules its Kubernetes, the module of kind its own files. Root, and
# a Docker engine (engine.sh), are needed. The last line printed is the image's name, for
# KIND_NODE_IMAGE.
#
# It has no kube-proxy, CoreDNS, kindnet and default StorageClass, which the tests of this
# repository do without.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=${PODLV_CACHE:-$HOME/.cache/podlv}
bin=$cache/bin
"$here/../build.sh" "$bin" kind-node >&2
version=$(cd "$here/../kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
constants=$(cd "$here/../kubernetes" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/cmd/kubeadm/app/constants/constants.go
kind=$(cd "$root" && go list -m -f '{{.Dir}}' sigs.k8s.io/kind)
name=kindest/node:$version-local

# It is made once, of what it is made of.
want=$(cat "$0" "$here"/*.sh "$bin"/.*-built-from <(echo "$kind") | sha256sum | cut -d' ' -f1)
if [ "$(docker image inspect --format '{{index .Config.Labels "podlv.made-of"}}' "$name" 2>/dev/null)" = "$want" ]; then
  echo "$name"
  exit 0
fi
for p in mmdebstrap:mmdebstrap busybox:busybox-static jq:jq; do
  command -v "${p%%:*}" >/dev/null || apt-get install -y -q --no-install-recommends "${p##*:}" >&2
done
work=$(mktemp -d)
c=
trap 'rm -rf "$work"; [ -z "$c" ] || docker rm -f "$c" >/dev/null' EXIT
if [ ! -f "$cache/kind-node-rootfs.tar" ]; then
  mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,libseccomp2,pigz,e2fsprogs,xfsprogs,btrfs-progs,bash,ca-certificates,curl,jq,procps,runc,containernetworking-plugins,socat \
    bookworm "$work/rootfs.tar" >&2
  mv "$work/rootfs.tar" "$cache/kind-node-rootfs.tar"
fi
docker import "$cache/kind-node-rootfs.tar" podlv-node-rootfs:local >/dev/null
mkdir -p "$work/bin" "$work/images"
cp -r "$kind/images/base/files" "$work/files" && chmod -R u+w "$work/files"
cp "$bin"/{containerd,containerd-shim-runc-v2,ctr,kubeadm,kubelet,kubectl} "$work/bin/"
cp "$here/runc-without-sys-resource.sh" "$work/bin/runc-without-sys-resource"
cat >"$work/Dockerfile" <<X
FROM podlv-node-rootfs:local
COPY files/ /
RUN chmod 755 /usr/local/bin/* /kind /kind/bin /kind/bin/*; \\
  find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete; \\
  rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* /lib/systemd/system/local-fs.target.wants/* \\
    /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/basic.target.wants/*; \\
  echo ReadKMsg=no >>/etc/systemd/journald.conf; ln -sf /usr/lib/systemd/systemd /sbin/init; \\
  mkdir -p /etc/kubernetes/manifests /opt/cni/bin /etc/cni/net.d /kind/manifests; cp /usr/lib/cni/* /opt/cni/bin/
COPY bin/containerd bin/containerd-shim-runc-v2 bin/ctr /usr/local/bin/
COPY bin/kubeadm bin/kubelet bin/kubectl /usr/bin/
COPY bin/runc-without-sys-resource /usr/local/sbin/runc-without-sys-resource
RUN chmod 755 /usr/local/bin/* /usr/local/sbin/* /usr/bin/kube*; \\
  if [ \$(((0x\$(awk '/^CapEff/ {print \$2}' /proc/self/status) >> 24) & 1)) = 0 ]; then ln -sf runc-without-sys-resource /usr/local/sbin/runc; fi; \\
  systemctl enable kubelet.service containerd.service undo-mount-hacks.service; systemctl mask systemd-binfmt.service; \\
  ctr oci spec | jq '.hooks.createContainer[.hooks.createContainer|length] |= . + {"path": "/kind/bin/mount-product-files.sh"} | del(.process.rlimits)' >/etc/containerd/cri-base.json; \\
  printf $version >/kind/version; \\
  printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none, namespace: default}\n' | tee /kind/manifests/default-storage.yaml >/kind/manifests/default-cni.yaml
ENV container=docker
LABEL podlv.made-of=$want
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]
X
docker build -q -t podlv-node-base:local "$work" >/dev/null

# image NAME:TAG PROGRAM ENTRYPOINT... packs an image of one static program.
image() {
  local image=$1 program=$2 folder
  shift 2
  folder=$(mktemp -d "$work/XXXX")
  install -D -m 755 "$program" "$folder$1"
  (cd "$root" && go run ./e2e/image/pack -root "$folder" -name "$image" -o "$work/images/$(basename "$folder").tar" "$@")
}
for c in kube-apiserver kube-controller-manager kube-scheduler; do
  image "registry.k8s.io/$c:$version" "$bin/$c" "/usr/local/bin/$c"
done
image "registry.k8s.io/etcd:$(sed -n 's/.*DefaultEtcdVersion = "\(.*\)"/\1/p' "$constants")" "$bin/etcd" /usr/local/bin/etcd
# What holds a pod's namespaces has only to wait; the version is containerd's and kubeadm's choice.
for t in 3.10 3.10.1 3.10.2; do image "registry.k8s.io/pause:$t" "$(command -v busybox)" /bin/busybox sleep infinity; done

c=$(docker run -d --privileged --entrypoint sleep -v "$work/images:/images" podlv-node-base:local infinity)
docker exec "$c" sh -c 'containerd >/dev/null 2>&1 & pid=$!
  for i in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep .2; done
  for f in /images/*.tar; do ctr -n k8s.io images import --all-platforms --no-unpack "$f" >/dev/null || exit 1; done
  kill $pid; wait $pid || true'
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' "$c" "$name" >/dev/null
echo "$name"

// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

// volumePrefix is what the name of a claim's volume begins with, before the claim's UID
// (external-provisioner's default).
const volumePrefix = "pvc-"

const (
	// comingTime is how long a claim that the scheduler has sent here counts at most before
	// its volume is made, or could not be. One that waits longer has something wrong with it.
	comingTime = 5 * time.Minute
	// comingGap is the least time between two writes that claims on their way cause.
	comingGap = 50 * time.Millisecond
)

// coming is the claims that the scheduler has sent to this node and whose volumes are
// not made yet. kube-scheduler reserves nothing for claims (kubernetes 1.36,
// pkg/scheduler/framework/plugins/volumebinding/binder.go, AssumePodVolumes): until it is
// told of what they will take, it sends more. So their bytes are taken off what is
// published as soon as they are seen, and not when their volumes are there.
type coming struct {
	node  string
	clock clock.Clock
	news  chan struct{} // has one when a claim came

	mu      sync.Mutex
	claims  map[types.UID]comingClaim
	changes int64 // goes up with every change of claims
}

type comingClaim struct {
	storageClass string
	size         int64
	since        time.Time
	stumbled     bool // its volume could not be made when that was tried
}

func newComing(node string, c clock.Clock) *coming {
	return &coming{node: node, clock: c, news: make(chan struct{}, 1), claims: map[types.UID]comingClaim{}}
}

// handler is told of all claims.
func (c *coming) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{AddFunc: c.see, UpdateFunc: func(_, o any) { c.see(o) }, DeleteFunc: c.forget}
}

func (c *coming) see(object any) {
	claim, ok := object.(*corev1.PersistentVolumeClaim)
	if !ok {
		return
	}
	comes := claim.Annotations[annSelectedNode] == c.node && claim.Annotations[annProvisioner] == Name &&
		claim.Spec.VolumeName == "" && claim.Spec.StorageClassName != nil && claim.DeletionTimestamp == nil
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.claims[claim.UID]
	switch {
	case comes && !known:
		size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
		c.claims[claim.UID] = comingClaim{storageClass: *claim.Spec.StorageClassName, size: size.Value(), since: c.clock.Now()}
		c.changes++
		select {
		case c.news <- struct{}{}:
		default:
		}
	case !comes && known:
		delete(c.claims, claim.UID)
		c.changes++
	}
}

func (c *coming) forget(object any) {
	if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = t.Obj
	}
	if claim, ok := object.(*corev1.PersistentVolumeClaim); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.claims, claim.UID)
		c.changes++
	}
}

// stumbled takes up that a volume could not be made: its claim takes nothing until it is
// sent here anew, or its volume is there.
func (c *coming) stumbled(volume string) {
	uid, ours := strings.CutPrefix(volume, volumePrefix)
	c.mu.Lock()
	defer c.mu.Unlock()
	if claim, known := c.claims[types.UID(uid)]; ours && known {
		claim.stumbled = true
		c.claims[types.UID(uid)] = claim
		c.changes++
	}
}

// version is another number when other claims are on their way.
func (c *coming) version() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes
}

// bytes is what they will take of each pool beyond what is in the VGs. class is the
// device class of a StorageClass, if it is one of ours.
func (c *coming) bytes(groups []lvm.VolumeGroup, class func(storageClass string) (Class, bool)) map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	sums := map[string]int64{}
	for uid, claim := range c.claims {
		if claim.stumbled || c.clock.Since(claim.since) >= comingTime {
			continue
		}
		class, ok := class(claim.storageClass)
		if !ok {
			continue
		}
		g, err := lvm.Find(groups, class.Pool.VolumeGroup)
		if err != nil {
			continue
		}
		if _, made := g.LogicalVolume(volumePrefix + string(uid)); made {
			continue
		}
		if charge, err := class.Charge(claim.size); err == nil {
			sums[class.Pool.Name] += charge
		}
	}
	return sums
}

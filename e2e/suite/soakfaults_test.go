// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/lab"
)

// fault is what may happen to a node, or to what a cluster has once. It returns when its
// cause is gone; how the cluster gets over it is another matter.
type fault struct {
	name   string
	weight int
	happen func(s *soak, ctx context.Context, random *rand.Rand, n *cluster.Node) error
}

var faults = []fault{
	{"agent killed", 6, func(_ *soak, ctx context.Context, _ *rand.Rand, n *cluster.Node) error {
		_, err := n.Run(ctx, "sh", "-c", agents("kill -9 ${p#/proc/}"))
		return err
	}},
	{"agent Pod deleted", 2, func(s *soak, ctx context.Context, _ *rand.Rand, n *cluster.Node) error {
		return s.deletePods(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=agent", FieldSelector: "spec.nodeName=" + n.Name})
	}},
	{"controller Pod deleted", 2, func(s *soak, ctx context.Context, _ *rand.Rand, _ *cluster.Node) error {
		return s.deletePods(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=controller"})
	}},
	{"snapshot-controller Pod deleted", 1, func(s *soak, ctx context.Context, _ *rand.Rand, _ *cluster.Node) error {
		return s.deletePods(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=snapshot-controller"})
	}},
	{"kubelet killed", 3, func(_ *soak, ctx context.Context, random *rand.Rand, n *cluster.Node) error {
		if err := n.StopKubelet(ctx); err != nil {
			return err
		}
		pause(ctx, random, 15*time.Second)
		before := time.Now()
		if err := n.StartKubelet(ctx); err != nil {
			return err
		}
		return n.WaitReady(ctx, before)
	}},
	{"power cut", 2, func(_ *soak, ctx context.Context, random *rand.Rand, n *cluster.Node) error {
		n.Kill()
		cut := time.Now()
		pause(ctx, random, 20*time.Second)
		if err := n.Boot(); err != nil {
			return err
		}
		return n.WaitReady(ctx, cut)
	}},
	{"lvm held up", 3, func(_ *soak, ctx context.Context, random *rand.Rand, n *cluster.Node) error {
		_, err := n.Run(ctx, "flock", lockOf(n), "sleep", fmt.Sprint(1+random.IntN(15)))
		return err
	}},
}

// lockOf is a file that every lvm command that changes VG ssd locks.
func lockOf(n *cluster.Node) string {
	if *onKind {
		return path.Join(path.Dir(n.LVMDisks()[0]), "lock")
	}
	return "/run/lock/lvm/V_ssd"
}

// pause waits up to most, or until ctx ends.
func pause(ctx context.Context, random *rand.Rand, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(random.Int64N(int64(most)))):
	}
}

// faults lets one after the other happen until ctx ends. Then all nodes are up.
func (s *soak) faults(ctx context.Context, random *rand.Rand) {
	var bag []fault
	for _, f := range faults {
		for range f.weight {
			bag = append(bag, f)
		}
	}
	var order []int // so that each comes in its turn, however short the soak
	for {
		pause(ctx, random, 20*time.Second)
		if ctx.Err() != nil {
			return
		}
		if len(order) == 0 {
			order = random.Perm(len(bag))
		}
		f, n := bag[order[0]], the.Nodes()[random.IntN(nodes)]
		order = order[1:]
		// What has begun comes to its end also when the soak does: nodes are up then.
		limited, cancel := context.WithTimeout(s.ctx, soakLimit)
		err := f.happen(s, limited, random, n)
		cancel()
		if err != nil {
			s.stuck(fmt.Sprintf("%s on %s: %v", f.name, n.Name, err))
			return
		}
		s.counted.add(&s.counted.faults, f.name)
	}
}

// deletePods deletes pods of podlv's own, some of them at once as a person in a hurry does.
func (s *soak) deletePods(ctx context.Context, which metav1.ListOptions) error {
	pods, err := the.Client.CoreV1().Pods(lab.Namespace).List(ctx, which)
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			return the.Client.CoreV1().Pods(lab.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{})
		}
	}
	return nil
}

// stuck counts what did not come to an end, and keeps what explains it the first time.
func (s *soak) stuck(what string) {
	s.counted.mu.Lock()
	s.counted.stuck = append(s.counted.stuck, what)
	first := len(s.counted.stuck) == 1
	s.counted.mu.Unlock()
	s.print("STUCK: %s", what)
	if first {
		the.KeepEvidence("stuck")
	}
}

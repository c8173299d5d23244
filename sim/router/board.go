// SPDX-License-Identifier: Apache-2.0

package router

import (
	"slices"
	"sync"

	"k8s.io/client-go/tools/cache"
)

// byNode is the name of the index of a shared informer by node.
const byNode = "podlv-sim/node"

// board takes the events of one shared informer to the views of the nodes that they
// concern.
type board struct {
	informer cache.SharedIndexInformer
	node     func(object any) string // that an object belongs to now, "" for none
	// sticky: a node that has been shown an object is shown what becomes of it.
	sticky  bool
	handler cache.ResourceEventHandlerRegistration

	mu    sync.Mutex // held while an event is delivered, so that a view sees them in order
	views map[string][]*view
	shown map[string][]string // key → nodes that have it
}

func newBoard(informer cache.SharedIndexInformer, node func(any) string, sticky bool) (*board, error) {
	b := &board{informer: informer, node: node, sticky: sticky, views: map[string][]*view{}, shown: map[string][]string{}}
	err := informer.AddIndexers(cache.Indexers{byNode: func(object any) ([]string, error) {
		if n := node(object); n != "" {
			return []string{n}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return nil, err
	}
	b.handler, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: b.set, UpdateFunc: func(_, o any) { b.set(o) }, DeleteFunc: b.remove,
	})
	return b, err
}

// join makes a view of a node, with what the shared informer has of it now.
func (b *board) join(name string) *view {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := newView(b.handler)
	b.views[name] = append(b.views[name], v)
	have, err := b.informer.GetIndexer().ByIndex(byNode, name)
	if err != nil {
		panic(err) // the index is added before anybody can join
	}
	for _, o := range have {
		key := keyOf(o)
		if !slices.Contains(b.shown[key], name) {
			b.shown[key] = append(b.shown[key], name)
		}
		v.set(key, o)
	}
	return v
}

func (b *board) leave(name string, v *view) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.views[name] = slices.DeleteFunc(b.views[name], func(x *view) bool { return x == v })
}

// set delivers an object that is new or has changed.
func (b *board) set(object any) {
	key, node := keyOf(object), b.node(object)
	b.mu.Lock()
	defer b.mu.Unlock()
	had := b.shown[key]
	has := had
	if !b.sticky {
		has = nil
	}
	if node != "" && !slices.Contains(has, node) {
		has = append(slices.Clone(has), node)
	}
	for _, n := range had {
		if slices.Contains(has, n) {
			continue
		}
		for _, v := range b.views[n] {
			v.deliver(func() { v.remove(key, object) })
		}
	}
	for _, n := range has {
		for _, v := range b.views[n] {
			v.deliver(func() { v.set(key, object) })
		}
	}
	if len(has) == 0 {
		delete(b.shown, key)
	} else {
		b.shown[key] = has
	}
}

// remove delivers that an object is gone. object may be a tombstone.
func (b *board) remove(object any) {
	key := keyOf(object)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.shown[key] {
		for _, v := range b.views[n] {
			v.deliver(func() { v.remove(key, object) })
		}
	}
	delete(b.shown, key)
}

// keyOf is namespace/name, also of a tombstone.
func keyOf(object any) string {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		panic(err) // an informer holds objects of Kubernetes only
	}
	return key
}

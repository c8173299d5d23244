// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// errFed is what a view answers to what only the informer that feeds it could do.
var errFed = errors.New("this informer is fed by a router, which has no part in that")

// view is the informer of one node. It calls its handlers one after another, in the
// goroutine of the shared informer: they must not block, which those of work queues and
// counters do not. There is no resync: what failed is tried again by whoever tried it.
type view struct {
	source  cache.ResourceEventHandlerRegistration // of the board at the shared informer
	indexer cache.Indexer
	lag     lag

	mu       sync.Mutex // held while handlers run, so that each sees every event once and in order
	handlers []*subscription
}

var _ cache.SharedIndexInformer = &view{}

// subscription is a handler of a view.
type subscription struct {
	cache.ResourceEventHandler
	source cache.ResourceEventHandlerRegistration
}

// HasSynced implements cache.ResourceEventHandlerRegistration: what was there is
// delivered by the time the handler is added.
func (s *subscription) HasSynced() bool                     { return s.source.HasSynced() }
func (s *subscription) HasSyncedChecker() cache.DoneChecker { return s.source.HasSyncedChecker() }

func newView(source cache.ResourceEventHandlerRegistration) *view {
	return &view{
		source:  source,
		indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
	}
}

// deliver does what an event does, now or later.
func (v *view) deliver(event func()) { v.lag.do(event) }

// set delivers an object that is new or has changed.
func (v *view) set(key string, object any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, had, _ := v.indexer.GetByKey(key) // never fails
	_ = v.indexer.Update(object)           // fails only for what has no key
	for _, h := range v.handlers {
		if had {
			h.OnUpdate(old, object)
		} else {
			h.OnAdd(object, false)
		}
	}
}

// remove delivers that an object is not the node's any more. last is how it was, or a
// tombstone.
func (v *view) remove(key string, last any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, had, _ := v.indexer.GetByKey(key)
	if !had {
		return
	}
	_ = v.indexer.Delete(old)
	for _, h := range v.handlers {
		h.OnDelete(last)
	}
}

// AddEventHandler delivers what is there before it returns.
func (v *view) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &subscription{handler, v.source}
	v.handlers = append(v.handlers, s)
	for _, o := range v.indexer.List() {
		handler.OnAdd(o, true)
	}
	return s, nil
}

func (v *view) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return v.AddEventHandler(handler)
}

func (v *view) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, _ cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return v.AddEventHandler(handler)
}

func (v *view) RemoveEventHandler(handle cache.ResourceEventHandlerRegistration) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.handlers = slices.DeleteFunc(v.handlers, func(s *subscription) bool { return cache.ResourceEventHandlerRegistration(s) == handle })
	return nil
}

func (v *view) AddIndexers(indexers cache.Indexers) error { return v.indexer.AddIndexers(indexers) }
func (v *view) GetIndexer() cache.Indexer                 { return v.indexer }
func (v *view) GetStore() cache.Store                     { return v.indexer }
func (v *view) HasSynced() bool                           { return v.source.HasSynced() }
func (v *view) HasSyncedChecker() cache.DoneChecker       { return v.source.HasSyncedChecker() }
func (v *view) IsStopped() bool                           { return false }
func (v *view) LastSyncResourceVersion() string           { return "" }

// Run and RunWithContext do nothing until they are told to end: the router feeds.
func (v *view) Run(stop <-chan struct{})           { <-stop }
func (v *view) RunWithContext(ctx context.Context) { <-ctx.Done() }

// GetController implements cache.SharedInformer, where it is deprecated; there is none.
func (v *view) GetController() cache.Controller { return nil }

func (v *view) SetWatchErrorHandler(cache.WatchErrorHandler) error { return errFed }

func (v *view) SetWatchErrorHandlerWithContext(cache.WatchErrorHandlerWithContext) error {
	return errFed
}
func (v *view) SetTransform(cache.TransformFunc) error { return errFed }

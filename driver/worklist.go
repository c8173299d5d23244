// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"log/slog"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// worklist has things to do by their keys, one after the other. What fails is done again,
// later and later.
type worklist[K comparable] struct {
	queue  workqueue.TypedRateLimitingInterface[K]
	do     func(context.Context, K) error
	failed string // what the log says of a failure
	log    *slog.Logger
}

func newWorklist[K comparable](do func(context.Context, K) error, failed string, log *slog.Logger) worklist[K] {
	limit := workqueue.NewTypedItemExponentialFailureRateLimiter[K](provisionRetry, provisionRetryLimit)
	return worklist[K]{workqueue.NewTypedRateLimitingQueue(limit), do, failed, log}
}

// follow has the key done of each object that an informer tells of and that has one.
func (w worklist[K]) follow(informer cache.SharedInformer, key func(object any) (K, bool)) error {
	add := func(object any) {
		if k, ok := key(object); ok {
			w.queue.Add(k)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
	})
	return err
}

// run works until ctx ends.
func (w worklist[K]) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, w.queue.ShutDown)
	defer stop()
	for {
		key, done := w.queue.Get()
		if done {
			return
		}
		if err := w.do(ctx, key); err != nil && ctx.Err() == nil {
			w.log.Warn(w.failed, "of", key, "error", err)
			w.queue.AddRateLimited(key)
		} else {
			w.queue.Forget(key)
		}
		w.queue.Done(key)
	}
}

// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"log/slog"

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

// add has key done.
func (w worklist[K]) add(key K) { w.queue.Add(key) }

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

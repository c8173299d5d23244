// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Handler lets a Remote use a driver.
func (d *Driver) Handler() http.Handler {
	mux := http.NewServeMux()
	said := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	mux.HandleFunc("POST /rules", func(w http.ResponseWriter, q *http.Request) {
		var rule Rule
		err := json.NewDecoder(q.Body).Decode(&rule)
		if err == nil {
			d.Add(rule)
		}
		said(w, err)
	})
	mux.HandleFunc("POST /mark", func(w http.ResponseWriter, q *http.Request) {
		note, err := io.ReadAll(q.Body)
		if err == nil {
			d.Mark(string(note))
		}
		said(w, err)
	})
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, _ *http.Request) { said(w, d.Start()) })
	mux.HandleFunc("POST /stop", func(_ http.ResponseWriter, q *http.Request) { d.Stop(q.URL.Query().Get("killed") == "true") })
	return mux
}

// Remote is a driver in another process, at an address as "10.0.0.1:9001".
type Remote struct{ Address string }

// Add is Driver.Add.
func (r Remote) Add(ctx context.Context, rule Rule) error {
	text, err := json.Marshal(rule)
	if err != nil {
		return err
	}
	return r.post(ctx, "/rules", text)
}

// Mark is Driver.Mark.
func (r Remote) Mark(ctx context.Context, note string) error {
	return r.post(ctx, "/mark", []byte(note))
}

// Start is Driver.Start.
func (r Remote) Start(ctx context.Context) error { return r.post(ctx, "/start", nil) }

// Stop is Driver.Stop.
func (r Remote) Stop(ctx context.Context, killed bool) error {
	return r.post(ctx, fmt.Sprintf("/stop?killed=%t", killed), nil)
}

func (r Remote) post(ctx context.Context, path string, body []byte) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.Address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Close = true // a connection from before a power cut is dead
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	answer, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, a.Status, strings.TrimSpace(string(answer)))
	}
	return err
}

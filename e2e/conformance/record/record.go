// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Call is a call that was answered, or, with the method Mark, something that happened
// beside the calls.
type Call struct {
	Method   string          // as "NodePublishVolume"
	Volume   string          `json:",omitempty"` // its id
	Request  json.RawMessage `json:",omitempty"` // protobuf's JSON, its keys sorted; values of secrets are left out
	Response json.RawMessage `json:",omitempty"`
	Code     string          // of gRPC, as "OK"
	Error    string          `json:",omitempty"`
	Spoilt   bool            `json:",omitempty"` // by a rule
	Start    time.Time
	End      time.Time
	Note     string `json:",omitempty"` // of a mark
}

// Mark is the method of what is not a call.
const Mark = "mark"

// Rule makes calls fail, or take longer.
type Rule struct {
	Method   string        // as "NodePublishVolume"
	Contains string        // the request as JSON contains it, as the name of a pod or the id of a volume
	Code     string        // with which it fails; "OK" or empty: it does not
	After    bool          // what it asks for is done all the same
	Delay    time.Duration // before anything else
	Times    int           // for so many calls
}

// Config is what a Driver needs.
type Config struct {
	// Name and Node are the driver's name and its node's, TopologyKey that of the label
	// with the node's name.
	Name, Node, TopologyKey string
	// Registry is where kubelet looks for registration sockets, Socket the CSI socket.
	Registry, Socket string
	Machine          Machine
	// Keep is told of each call when it has been answered, one after another.
	Keep func(Call)
}

// Machine is where the driver mounts. Targets are absolute paths.
type Machine interface {
	// PublishFolder makes a folder at the target and mounts one there, PublishDevice a
	// file and a device. What is mounted already is no error.
	PublishFolder(target string) error
	PublishDevice(target string) error
	// Unpublish undoes either. That nothing is there is no error.
	Unpublish(target string) error
}

// Driver is the driver. New makes one.
type Driver struct {
	config Config

	mu      sync.Mutex
	rules   []Rule
	calls   []Call
	servers []*grpc.Server
	sockets []*net.UnixListener
}

// New makes a driver, which Start starts.
func New(c Config) *Driver { return &Driver{config: c} }

// Add adds a rule. Of several that meet a call the oldest is followed.
func (d *Driver) Add(rule Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, rule)
}

// Mark keeps that something has happened.
func (d *Driver) Mark(note string) {
	now := time.Now()
	d.keep(Call{Method: Mark, Start: now, End: now, Note: note})
}

// Calls are all calls that were answered, and marks, in the order of their ends.
func (d *Driver) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *Driver) keep(c Call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, c)
	if d.config.Keep != nil {
		d.config.Keep(c)
	}
}

// match takes the rule for a call, if there is one.
func (d *Driver) match(method, request string) (Rule, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.rules {
		if rule := &d.rules[i]; rule.Times > 0 && rule.Method == method && strings.Contains(request, rule.Contains) {
			rule.Times--
			return *rule, true
		}
	}
	return Rule{}, false
}

// answer does what a call asks for, unless a rule says otherwise, and keeps the call.
func answer[Q, A proto.Message](ctx context.Context, d *Driver, method string, request Q, do func() (A, error)) (A, error) {
	c := Call{Method: method, Start: time.Now(), Request: plain(request)}
	if v, ok := any(request).(interface{ GetVolumeId() string }); ok {
		c.Volume = v.GetVolumeId()
	}
	var none A
	a, err := none, error(nil)
	rule, has := d.match(method, string(c.Request))
	if has {
		c.Spoilt = true
		select {
		case <-time.After(rule.Delay):
		case <-ctx.Done():
			err = brokenOff(ctx)
		}
	}
	fails := has && rule.Code != "" && rule.Code != "OK"
	if err == nil && (!fails || rule.After) {
		a, err = do()
	}
	if err == nil && fails {
		a, err = none, spoilt(rule.Code)
	}
	if c.Code, c.End = codeOf(err), time.Now(); err != nil {
		c.Error = err.Error()
	} else {
		c.Response = plain(a)
	}
	d.keep(c)
	return a, err
}

// plain is a message as JSON with sorted keys, without the values of secrets.
func plain(m proto.Message) json.RawMessage {
	text, err := protojson.Marshal(m)
	if err != nil {
		return json.RawMessage(fmt.Sprintf("%q", err.Error()))
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return text
	}
	if secrets, has := fields["secrets"].(map[string]any); has {
		for k := range secrets {
			secrets[k] = "left out"
		}
	}
	if text, err = json.Marshal(fields); err != nil {
		return json.RawMessage(fmt.Sprintf("%q", err.Error()))
	}
	return text
}

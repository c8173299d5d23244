// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The values of the Helm chart are checked by a schema, and then handed to the agent as
// they are: each key of the file must be in it, and no other.
func TestTheChartKnowsTheKeysOfTheFile(t *testing.T) {
	text, err := os.ReadFile("../deploy/chart/values.schema.json")
	require.NoError(t, err)
	var schema struct {
		Defs map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(text, &schema))
	var keys func(of reflect.Type) []string
	keys = func(of reflect.Type) (names []string) {
		for i := range of.NumField() {
			name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if options == "inline" {
				names = append(names, keys(of.Field(i).Type)...)
			} else {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	for definition, want := range map[string][]string{
		"pool": keys(reflect.TypeFor[poolFile]()), "poolNodes": keys(reflect.TypeFor[nodesFile]()), "device": keys(reflect.TypeFor[ruleFile]()),
		"class": keys(reflect.TypeOf(classFile{}.Classes).Elem()),
	} {
		require.Equal(t, want, slices.Sorted(maps.Keys(schema.Defs[definition].Properties)), definition)
	}
}

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
	keys := func(list any) (names []string) {
		of := reflect.TypeOf(list).Elem()
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	for definition, want := range map[string][]string{"pool": keys(classFile{}.Pools), "groupPool": keys(classFile{}.Pools), "class": keys(classFile{}.Classes)} {
		require.Equal(t, want, slices.Sorted(maps.Keys(schema.Defs[definition].Properties)), definition)
	}
}

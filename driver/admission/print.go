// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Print writes objects as YAML documents, without the status that only the API server
// fills.
func Print(w io.Writer, objects []runtime.Object) error {
	for _, o := range objects {
		asJSON, err := json.Marshal(o)
		if err != nil {
			return err
		}
		var fields map[string]any
		if err := json.Unmarshal(asJSON, &fields); err != nil {
			return err
		}
		delete(fields, "status")
		text, err := yaml.Marshal(fields)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n%s\n", bytes.TrimSpace(text)); err != nil {
			return err
		}
	}
	return nil
}

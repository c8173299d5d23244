// SPDX-License-Identifier: Apache-2.0

// Package deploy_test holds the Helm chart to the program that it installs. There are
// only the chart, what it renders to (manifests, and testdata for other values), and
// render.sh, which makes these.
package deploy_test

//go:generate go run ../driver/admission/chart chart/templates/_policies.tpl
//go:generate ./render.sh

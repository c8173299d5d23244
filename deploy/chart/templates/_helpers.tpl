{{/*
SPDX-License-Identifier: Apache-2.0
*/}}

{{/* podlv.labels: of all objects. (list $ component) */}}
{{- define "podlv.labels" -}}
{{ include "podlv.selector" . }}
app.kubernetes.io/part-of: podlv
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end }}

{{/* podlv.selector: the labels of a component's pods, which never change: selectors cannot. */}}
{{- define "podlv.selector" -}}
app.kubernetes.io/name: podlv
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* podlv.image: (list $ image) → repository:tag or repository@digest */}}
{{- define "podlv.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* podlv.scheduling: where pods go. (list nodeSelector affinity tolerations) */}}
{{- define "podlv.scheduling" -}}
{{- with index . 0 }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 1 }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 2 }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{/* podlv.bytes: a quantity as whole bytes. The schema lets whole numbers and up to three
     decimals through; fractions of a byte round up, as Kubernetes does. */}}
{{- define "podlv.bytes" -}}
{{- $n := regexFind "^[0-9.]+" . -}}
{{- $unit := trimPrefix $n . -}}
{{- $factor := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624) $unit -}}
{{- $parts := splitList "." $n -}}
{{- $decimals := "" -}}
{{- if gt (len $parts) 1 }}{{ $decimals = index $parts 1 }}{{ end -}}
{{- $scale := int64 (printf "1%s" (repeat (len $decimals) "0")) -}}
{{- $number := printf "%s%s" (first $parts) $decimals | trimPrefix "0" | default "0" -}}
{{- range until 24 }}{{ if gt (len $number) 1 }}{{ $number = trimPrefix "0" $number }}{{ end }}{{ end -}}
{{- div (add (mul (int64 $number) (int64 $factor)) (sub $scale 1)) $scale -}}
{{- end }}

{{/* podlv.classesFile: pools and classes, as podlv reads them. (list $ pools) */}}
{{- define "podlv.classesFile" -}}
pools:
{{ toYaml (index . 1) }}
classes:
{{ toYaml (index . 0).Values.classes }}
{{- end }}

{{/* podlv.clusterPools: the pools with what is the same on all nodes: for the controller
     and the policies, which look at no VG. Two pools may have one VG, on different nodes;
     so each has one of its own name here. */}}
{{- define "podlv.clusterPools" -}}
{{- $pools := list -}}
{{- range .Values.pools }}
{{- $pool := pick . "name" "inlinePool" -}}
{{- $_ := set $pool "volumeGroup" .name -}}
{{- if or .thinPool (dig "thinPool" "" (first (.nodes | default (list dict)))) }}{{ $_ := set $pool "thinPool" "pool" }}{{ end -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{ toYaml $pools }}
{{- end }}

{{/* podlv.cel: a map literal in CEL of values that are CEL already, sorted by key. */}}
{{- define "podlv.cel" -}}
{{- $rows := list -}}
{{- $map := . -}}
{{- range keys $map | sortAlpha }}{{ $rows = append $rows (printf "%s: %s" (quote .) (get $map .)) }}{{ end -}}
{ {{- join ", " $rows -}} }
{{- end }}

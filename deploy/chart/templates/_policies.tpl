{{/*
SPDX-License-Identifier: Apache-2.0
Made by go generate from package driver/admission. DO NOT EDIT.
*/}}

{{- define "podlv.policies.pool" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  annotations:
    podlv.dev/storage-classes: {{ `@list@` | replace "@list@" .list | toRawJson }}
  labels:
    podlv.dev/pool: {{ `@pool@` | replace "@pool@" .pool | toRawJson }}
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `object.spec.?volumes.orValue([]).exists(v, has(v.csi) && v.csi.driver == "podlv.dev" || has(v.ephemeral))` | nindent 8 }}
      name: has-volumes
    - expression: "object.spec.?containers.orValue([]).size() > 0"
      name: has-containers
  matchConstraints:
    resourceRules:
      - apiGroups:
          - ""
        apiVersions:
          - v1
        operations:
          - CREATE
        resources:
          - pods
  mutations:
    - applyConfiguration:
        expression: |-
          {{- `variables.total <= 9007199254740992.0 && variables.total > variables.asked.sum() && variables.asked.all(f, f >= 0.0)
? Object{spec: Object.spec{containers: [Object.spec.containers{
    name: object.spec.containers[0].name,
    resources: Object.spec.containers.resources{
      requests: {"podlv.dev/@pool@": string(int(variables.asked[0] + variables.total - variables.asked.sum()))},
      limits: {"podlv.dev/@pool@": string(int(variables.asked[0] + variables.total - variables.asked.sum()))}}}]}}
: Object{}` | replace "@pool@" .pool | nindent 10 }}
      patchType: ApplyConfiguration
  reinvocationPolicy: IfNeeded
  variables:
    - expression: {{ `@rates@` | replace "@rates@" .rates | toRawJson }}
      name: classes
    - expression: {{ `@sizes@` | replace "@sizes@" .sizes | toRawJson }}
      name: sizes
    - expression: {{ `@claims@` | replace "@claims@" .claims | toRawJson }}
      name: claims
    - expression: |-
        {{- `(object.spec.?volumes.orValue([]).filter(v, has(v.csi) && v.csi.driver == "podlv.dev")
  .map(v, [string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[0] in variables.classes)
+ object.spec.?volumes.orValue([]).filter(v, has(v.ephemeral) && has(v.ephemeral.volumeClaimTemplate)).map(v, v.ephemeral.volumeClaimTemplate)
  .map(t, [string(t.?metadata.?annotations[?"volume.beta.kubernetes.io/storage-class"].or(t.?spec.?storageClassName).orValue(@default@)),
    string(t.?spec.?resources.?requests[?"storage"].orValue(""))])
  .filter(x, x[0] in variables.claims).map(x, [variables.claims[x[0]], x[1]])).map(x, [x[0], x[1] == "" ? variables.sizes[x[0]] : x[1]])` | replace "@default@" .default | nindent 8 }}
      name: volumes
    - expression: |-
        {{- `variables.volumes.all(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("0")) && !(isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi"))))` | nindent 8 }}
      name: valid
    - expression: |-
        {{- `variables.volumes.map(x, [x[0], x[1], string(int(quantity(x[1]).asApproximateFloat() / variables.classes[x[0]][0] + 0.5) * int(variables.classes[x[0]][0]))])
  .map(x, [variables.classes[x[0]][0], variables.classes[x[0]][1], variables.classes[x[0]][2], double(x[2]), quantity(x[1]).isGreaterThan(quantity(x[2])) ? 1.0 : 0.0])
  .map(x, (x[3] + x[4] * x[0]) * x[1] + x[2])` | nindent 8 }}
      name: charges
    - expression: "variables.valid ? variables.charges.sum() : 0.0"
      name: total
    - expression: |-
        {{- `(object.spec.containers + object.spec.?initContainers.orValue([]).filter(c, c.?restartPolicy.orValue("") == "Always"))
  .map(c, quantity(c.?resources.?requests[?"podlv.dev/@pool@"].orValue("0")).asApproximateFloat())
  .map(f, f >= 0.0 && f <= 9007199254740992.0 ? double(int(f + 0.5)) : f)` | replace "@pool@" .pool | nindent 8 }}
      name: asked
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  {{- with .exempt }}
  matchResources: {"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":{{ sortAlpha . | toRawJson }}}]}}
  {{- end }}
  policyName: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  labels:
    podlv.dev/pool: {{ `@pool@` | replace "@pool@" .pool | toRawJson }}
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `object.spec.?volumes.orValue([]).exists(v, has(v.csi) && v.csi.driver == "podlv.dev" || has(v.ephemeral))` | nindent 8 }}
      name: has-volumes
    - expression: "object.spec.?containers.orValue([]).size() > 0"
      name: has-containers
  matchConstraints:
    resourceRules:
      - apiGroups:
          - ""
        apiVersions:
          - v1
        operations:
          - CREATE
        resources:
          - pods
  validations:
    - expression: |-
        {{- `!variables.volumes.exists(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi")))` | nindent 8 }}
      messageExpression: |-
        {{- `"a volume of pool @pool@: size \"" + variables.volumes.filter(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi")))[0][1] + "\" is more than 8Pi, which is more than Kubernetes can count"` | replace "@pool@" .pool | nindent 8 }}
    - expression: "variables.total <= 9007199254740992.0"
      messageExpression: |-
        {{- `"the pod's volumes of pool @pool@ take more than 8Pi together, which is more than Kubernetes can count"` | replace "@pool@" .pool | nindent 8 }}
    - expression: |-
        {{- `variables.total > 9007199254740992.0 || variables.asked.sum() >= variables.total` | nindent 8 }}
      messageExpression: |-
        {{- `"the pod's containers ask for " + string(int(variables.asked.sum())) + " of podlv.dev/@pool@, and its volumes of pool @pool@ take " + string(int(variables.total)) + " bytes: the request must be no less; leave it out to have it set"` | replace "@pool@" .pool | nindent 8 }}
  variables:
    - expression: {{ `@rates@` | replace "@rates@" .rates | toRawJson }}
      name: classes
    - expression: {{ `@sizes@` | replace "@sizes@" .sizes | toRawJson }}
      name: sizes
    - expression: {{ `@claims@` | replace "@claims@" .claims | toRawJson }}
      name: claims
    - expression: |-
        {{- `(object.spec.?volumes.orValue([]).filter(v, has(v.csi) && v.csi.driver == "podlv.dev")
  .map(v, [string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[0] in variables.classes)
+ object.spec.?volumes.orValue([]).filter(v, has(v.ephemeral) && has(v.ephemeral.volumeClaimTemplate)).map(v, v.ephemeral.volumeClaimTemplate)
  .map(t, [string(t.?metadata.?annotations[?"volume.beta.kubernetes.io/storage-class"].or(t.?spec.?storageClassName).orValue(@default@)),
    string(t.?spec.?resources.?requests[?"storage"].orValue(""))])
  .filter(x, x[0] in variables.claims).map(x, [variables.claims[x[0]], x[1]])).map(x, [x[0], x[1] == "" ? variables.sizes[x[0]] : x[1]])` | replace "@default@" .default | nindent 8 }}
      name: volumes
    - expression: |-
        {{- `variables.volumes.all(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("0")) && !(isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi"))))` | nindent 8 }}
      name: valid
    - expression: |-
        {{- `variables.volumes.map(x, [x[0], x[1], string(int(quantity(x[1]).asApproximateFloat() / variables.classes[x[0]][0] + 0.5) * int(variables.classes[x[0]][0]))])
  .map(x, [variables.classes[x[0]][0], variables.classes[x[0]][1], variables.classes[x[0]][2], double(x[2]), quantity(x[1]).isGreaterThan(quantity(x[2])) ? 1.0 : 0.0])
  .map(x, (x[3] + x[4] * x[0]) * x[1] + x[2])` | nindent 8 }}
      name: charges
    - expression: "variables.valid ? variables.charges.sum() : 0.0"
      name: total
    - expression: |-
        {{- `(object.spec.containers + object.spec.?initContainers.orValue([]).filter(c, c.?restartPolicy.orValue("") == "Always"))
  .map(c, quantity(c.?resources.?requests[?"podlv.dev/@pool@"].orValue("0")).asApproximateFloat())
  .map(f, f >= 0.0 && f <= 9007199254740992.0 ? double(int(f + 0.5)) : f)` | replace "@pool@" .pool | nindent 8 }}
      name: asked
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  {{- with .exempt }}
  matchResources: {"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":{{ sortAlpha . | toRawJson }}}]}}
  {{- end }}
  policyName: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
  validationActions:
    - Deny
{{- end }}

{{- define "podlv.policies.poolWithoutClaims" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  annotations:
    podlv.dev/storage-classes: {{ `@list@` | replace "@list@" .list | toRawJson }}
  labels:
    podlv.dev/pool: {{ `@pool@` | replace "@pool@" .pool | toRawJson }}
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `object.spec.?volumes.orValue([]).exists(v, has(v.csi) && v.csi.driver == "podlv.dev")` | nindent 8 }}
      name: has-volumes
    - expression: "object.spec.?containers.orValue([]).size() > 0"
      name: has-containers
  matchConstraints:
    resourceRules:
      - apiGroups:
          - ""
        apiVersions:
          - v1
        operations:
          - CREATE
        resources:
          - pods
  mutations:
    - applyConfiguration:
        expression: |-
          {{- `variables.total <= 9007199254740992.0 && variables.total > variables.asked.sum() && variables.asked.all(f, f >= 0.0)
? Object{spec: Object.spec{containers: [Object.spec.containers{
    name: object.spec.containers[0].name,
    resources: Object.spec.containers.resources{
      requests: {"podlv.dev/@pool@": string(int(variables.asked[0] + variables.total - variables.asked.sum()))},
      limits: {"podlv.dev/@pool@": string(int(variables.asked[0] + variables.total - variables.asked.sum()))}}}]}}
: Object{}` | replace "@pool@" .pool | nindent 10 }}
      patchType: ApplyConfiguration
  reinvocationPolicy: IfNeeded
  variables:
    - expression: {{ `@rates@` | replace "@rates@" .rates | toRawJson }}
      name: classes
    - expression: {{ `@sizes@` | replace "@sizes@" .sizes | toRawJson }}
      name: sizes
    - expression: "{}"
      name: claims
    - expression: |-
        {{- `(object.spec.?volumes.orValue([]).filter(v, has(v.csi) && v.csi.driver == "podlv.dev")
  .map(v, [string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[0] in variables.classes)).map(x, [x[0], x[1] == "" ? variables.sizes[x[0]] : x[1]])` | nindent 8 }}
      name: volumes
    - expression: |-
        {{- `variables.volumes.all(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("0")) && !(isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi"))))` | nindent 8 }}
      name: valid
    - expression: |-
        {{- `variables.volumes.map(x, [x[0], x[1], string(int(quantity(x[1]).asApproximateFloat() / variables.classes[x[0]][0] + 0.5) * int(variables.classes[x[0]][0]))])
  .map(x, [variables.classes[x[0]][0], variables.classes[x[0]][1], variables.classes[x[0]][2], double(x[2]), quantity(x[1]).isGreaterThan(quantity(x[2])) ? 1.0 : 0.0])
  .map(x, (x[3] + x[4] * x[0]) * x[1] + x[2])` | nindent 8 }}
      name: charges
    - expression: "variables.valid ? variables.charges.sum() : 0.0"
      name: total
    - expression: |-
        {{- `(object.spec.containers + object.spec.?initContainers.orValue([]).filter(c, c.?restartPolicy.orValue("") == "Always"))
  .map(c, quantity(c.?resources.?requests[?"podlv.dev/@pool@"].orValue("0")).asApproximateFloat())
  .map(f, f >= 0.0 && f <= 9007199254740992.0 ? double(int(f + 0.5)) : f)` | replace "@pool@" .pool | nindent 8 }}
      name: asked
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  {{- with .exempt }}
  matchResources: {"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":{{ sortAlpha . | toRawJson }}}]}}
  {{- end }}
  policyName: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  labels:
    podlv.dev/pool: {{ `@pool@` | replace "@pool@" .pool | toRawJson }}
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `object.spec.?volumes.orValue([]).exists(v, has(v.csi) && v.csi.driver == "podlv.dev")` | nindent 8 }}
      name: has-volumes
    - expression: "object.spec.?containers.orValue([]).size() > 0"
      name: has-containers
  matchConstraints:
    resourceRules:
      - apiGroups:
          - ""
        apiVersions:
          - v1
        operations:
          - CREATE
        resources:
          - pods
  validations:
    - expression: |-
        {{- `!variables.volumes.exists(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi")))` | nindent 8 }}
      messageExpression: |-
        {{- `"a volume of pool @pool@: size \"" + variables.volumes.filter(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi")))[0][1] + "\" is more than 8Pi, which is more than Kubernetes can count"` | replace "@pool@" .pool | nindent 8 }}
    - expression: "variables.total <= 9007199254740992.0"
      messageExpression: |-
        {{- `"the pod's volumes of pool @pool@ take more than 8Pi together, which is more than Kubernetes can count"` | replace "@pool@" .pool | nindent 8 }}
    - expression: |-
        {{- `variables.total > 9007199254740992.0 || variables.asked.sum() >= variables.total` | nindent 8 }}
      messageExpression: |-
        {{- `"the pod's containers ask for " + string(int(variables.asked.sum())) + " of podlv.dev/@pool@, and its volumes of pool @pool@ take " + string(int(variables.total)) + " bytes: the request must be no less; leave it out to have it set"` | replace "@pool@" .pool | nindent 8 }}
  variables:
    - expression: {{ `@rates@` | replace "@rates@" .rates | toRawJson }}
      name: classes
    - expression: {{ `@sizes@` | replace "@sizes@" .sizes | toRawJson }}
      name: sizes
    - expression: "{}"
      name: claims
    - expression: |-
        {{- `(object.spec.?volumes.orValue([]).filter(v, has(v.csi) && v.csi.driver == "podlv.dev")
  .map(v, [string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[0] in variables.classes)).map(x, [x[0], x[1] == "" ? variables.sizes[x[0]] : x[1]])` | nindent 8 }}
      name: volumes
    - expression: |-
        {{- `variables.volumes.all(x, isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("0")) && !(isQuantity(x[1]) && quantity(x[1]).isGreaterThan(quantity("8Pi"))))` | nindent 8 }}
      name: valid
    - expression: |-
        {{- `variables.volumes.map(x, [x[0], x[1], string(int(quantity(x[1]).asApproximateFloat() / variables.classes[x[0]][0] + 0.5) * int(variables.classes[x[0]][0]))])
  .map(x, [variables.classes[x[0]][0], variables.classes[x[0]][1], variables.classes[x[0]][2], double(x[2]), quantity(x[1]).isGreaterThan(quantity(x[2])) ? 1.0 : 0.0])
  .map(x, (x[3] + x[4] * x[0]) * x[1] + x[2])` | nindent 8 }}
      name: charges
    - expression: "variables.valid ? variables.charges.sum() : 0.0"
      name: total
    - expression: |-
        {{- `(object.spec.containers + object.spec.?initContainers.orValue([]).filter(c, c.?restartPolicy.orValue("") == "Always"))
  .map(c, quantity(c.?resources.?requests[?"podlv.dev/@pool@"].orValue("0")).asApproximateFloat())
  .map(f, f >= 0.0 && f <= 9007199254740992.0 ? double(int(f + 0.5)) : f)` | replace "@pool@" .pool | nindent 8 }}
      name: asked
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
spec:
  {{- with .exempt }}
  matchResources: {"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":{{ sortAlpha . | toRawJson }}}]}}
  {{- end }}
  policyName: {{ `podlv-pool-@pool@` | replace "@pool@" .pool | toRawJson }}
  validationActions:
    - Deny
{{- end }}

{{- define "podlv.policies.cluster" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: podlv-inline-volumes
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `object.spec.?volumes.orValue([]).exists(v, has(v.csi) && v.csi.driver == "podlv.dev")` | nindent 8 }}
      name: has-inline-volumes
  matchConstraints:
    resourceRules:
      - apiGroups:
          - ""
        apiVersions:
          - v1
        operations:
          - CREATE
        resources:
          - pods
  validations:
    - expression: "variables.keys.size() == 0"
      messageExpression: |-
        {{- `"volume " + variables.keys[0][0] + ": volumeAttributes: unknown " + variables.keys[0].filter(k, k != variables.keys[0][0]).join(", ") + "; allowed are class, mkfs-options, mount-options, size"` | nindent 8 }}
    - expression: "variables.classes.size() == 0"
      messageExpression: |-
        {{- `"volume " + variables.classes[0][0] + ": volumeAttributes[class]: " + (variables.classes[0][1] == "" ? @noClass@ : "\"" + variables.classes[0][1] + "\" is no device class") + "; there are @names@"` | replace "@noClass@" .noClass | replace "@names@" .names | nindent 8 }}
    - expression: "variables.asked.all(x, x[1] != \"\")"
      messageExpression: |-
        {{- `"volume " + variables.asked.filter(x, x[1] == "")[0][0] + ": volumeAttributes[size] is missing, and the class has no default size; write a quantity such as 10Gi"` | nindent 8 }}
    - expression: "variables.words.size() == 0"
      messageExpression: |-
        {{- `"volume " + variables.words[0][0] + ": volumeAttributes[size]: \"" + variables.words[0][1] + "\" is not a quantity; write 500Mi or 10Gi"` | nindent 8 }}
    - expression: "variables.small.size() == 0"
      messageExpression: |-
        {{- `"volume " + variables.small[0][0] + ": volumeAttributes[size]: \"" + variables.small[0][1] + "\" must be more than 0"` | nindent 8 }}
    - expression: "variables.fractions.size() == 0"
      messageExpression: |-
        {{- `"volume " + variables.fractions[0][0] + ": volumeAttributes[size]: \"" + variables.fractions[0][1] + "\" is less than a byte: m means thousandths; write 100Mi"` | nindent 8 }}
  variables:
    - expression: {{ `@sizes@` | replace "@sizes@" .sizes | toRawJson }}
      name: sizes
    - expression: |-
        {{- `object.spec.?volumes.orValue([]).filter(v, has(v.csi) && v.csi.driver == "podlv.dev")` | nindent 8 }}
      name: volumes
    - expression: |-
        {{- `variables.volumes.map(v, [string(v.name)] + v.csi.?volumeAttributes.orValue({}).map(k, string(k)).filter(k, !(k in ["class", "mkfs-options", "mount-options", "size"]))).filter(x, x.size() > 1)` | nindent 8 }}
      name: keys
    - expression: |-
        {{- `variables.volumes.map(v, [string(v.name), string(v.csi.?volumeAttributes[?"class"].orValue(""))]).filter(x, !(x[1] in variables.sizes))` | nindent 8 }}
      name: classes
    - expression: |-
        {{- `variables.volumes.map(v, [string(v.name), string(v.csi.?volumeAttributes[?"class"].orValue("")), string(v.csi.?volumeAttributes[?"size"].orValue(""))])
  .filter(x, x[1] in variables.sizes).map(x, [x[0], x[2] == "" ? variables.sizes[x[1]] : x[2]])` | nindent 8 }}
      name: asked
    - expression: "variables.asked.filter(x, x[1] != \"\" && !isQuantity(x[1]))"
      name: words
    - expression: "variables.asked.filter(x, isQuantity(x[1]))"
      name: numbers
    - expression: |-
        {{- `variables.numbers.filter(x, !quantity(x[1]).isGreaterThan(quantity("0")))` | nindent 8 }}
      name: small
    - expression: |-
        {{- `variables.numbers.filter(x, quantity(x[1]).isGreaterThan(quantity("0")) && quantity(x[1]).isLessThan(quantity("1")))` | nindent 8 }}
      name: fractions
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: podlv-inline-volumes
spec:
  {{- with .exempt }}
  matchResources: {"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":{{ sortAlpha . | toRawJson }}}]}}
  {{- end }}
  policyName: podlv-inline-volumes
  validationActions:
    - Deny
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: podlv-agent-node
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `request.userInfo.username == "system:serviceaccount:@namespace@:podlv"` | replace "@namespace@" .namespace | nindent 8 }}
      name: is-agent
  matchConstraints:
    resourceRules:
      - apiGroups:
          - ""
        apiVersions:
          - v1
        operations:
          - UPDATE
        resources:
          - nodes
          - nodes/status
  validations:
    - expression: "variables.node == object.metadata.name"
      messageExpression: |-
        {{- `"the agent of node \"" + variables.node + "\" may not change node \"" + object.metadata.name + "\""` | nindent 8 }}
    - expression: |-
        {{- `object.?spec == oldObject.?spec
&& object.?metadata.?labels == oldObject.?metadata.?labels
&& object.?metadata.?annotations == oldObject.?metadata.?annotations
&& object.?metadata.?finalizers == oldObject.?metadata.?finalizers
&& object.?metadata.?ownerReferences == oldObject.?metadata.?ownerReferences
&& object.?status.?addresses == oldObject.?status.?addresses
&& object.?status.?config == oldObject.?status.?config
&& object.?status.?daemonEndpoints == oldObject.?status.?daemonEndpoints
&& object.?status.?declaredFeatures == oldObject.?status.?declaredFeatures
&& object.?status.?features == oldObject.?status.?features
&& object.?status.?images == oldObject.?status.?images
&& object.?status.?nodeInfo == oldObject.?status.?nodeInfo
&& object.?status.?phase == oldObject.?status.?phase
&& object.?status.?runtimeHandlers == oldObject.?status.?runtimeHandlers
&& object.?status.?volumesAttached == oldObject.?status.?volumesAttached
&& object.?status.?volumesInUse == oldObject.?status.?volumesInUse
&& object.?status.?capacity.orValue({}).all(k, k.startsWith("podlv.dev/") || oldObject.?status.?capacity[?k] == object.?status.?capacity[?k])
&& oldObject.?status.?capacity.orValue({}).all(k, k.startsWith("podlv.dev/") || k in object.?status.?capacity.orValue({}))
&& object.?status.?allocatable.orValue({}).all(k, k.startsWith("podlv.dev/") || oldObject.?status.?allocatable[?k] == object.?status.?allocatable[?k])
&& oldObject.?status.?allocatable.orValue({}).all(k, k.startsWith("podlv.dev/") || k in object.?status.?allocatable.orValue({}))
&& object.?status.?conditions.orValue([]).filter(c, c.type != "PodlvReady") == oldObject.?status.?conditions.orValue([]).filter(c, c.type != "PodlvReady")` | nindent 8 }}
      message: |-
        {{- `the agent may change nothing of its node but podlv.dev/* in status.capacity and status.allocatable, and the condition PodlvReady` | nindent 8 }}
  variables:
    - expression: |-
        {{- `request.userInfo.extra[?"authentication.kubernetes.io/node-name"][0].orValue("")` | nindent 8 }}
      name: node
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: podlv-agent-node
spec:
  policyName: podlv-agent-node
  validationActions:
    - Deny
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: podlv-agent-capacity
spec:
  failurePolicy: Fail
  matchConditions:
    - expression: |-
        {{- `request.userInfo.username == "system:serviceaccount:@namespace@:podlv"` | replace "@namespace@" .namespace | nindent 8 }}
      name: is-agent
  matchConstraints:
    resourceRules:
      - apiGroups:
          - storage.k8s.io
        apiVersions:
          - v1
        operations:
          - CREATE
          - UPDATE
          - DELETE
        resources:
          - csistoragecapacities
  validations:
    - expression: |-
        {{- `request.operation == "DELETE" || (object.?nodeTopology.?matchLabels.orValue({}) == {"topology.podlv.dev/node": variables.node} && !has(object.nodeTopology.matchExpressions)
&& object.metadata.?ownerReferences.orValue([]).exists(r, r.kind == "Node" && r.name == variables.node))` | nindent 8 }}
      messageExpression: |-
        {{- `"the agent of node \"" + variables.node + "\" may publish the capacity of that node only, in an object that its Node owns"` | nindent 8 }}
    - expression: |-
        {{- `request.operation == "CREATE" || (oldObject.?nodeTopology.?matchLabels.orValue({}) == {"topology.podlv.dev/node": variables.node} && !has(oldObject.nodeTopology.matchExpressions))` | nindent 8 }}
      messageExpression: |-
        {{- `"the agent of node \"" + variables.node + "\" may change or delete that node's capacity only"` | nindent 8 }}
  variables:
    - expression: |-
        {{- `request.userInfo.extra[?"authentication.kubernetes.io/node-name"][0].orValue("")` | nindent 8 }}
      name: node
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: podlv-agent-capacity
spec:
  policyName: podlv-agent-capacity
  validationActions:
    - Deny
{{- end }}

{{/*
SPDX-License-Identifier: Apache-2.0
podlv.agent: the agents of one node group.
*/}}
{{- define "podlv.agent" -}}
{{- $ := .root -}}
{{- $agent := $.Values.agent -}}
---
# Pools and device classes: docs/device-classes.md. The agents read it again when it
# changes.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "podlv.labels" (list $ "agent") | nindent 4 }}
data:
  classes.yaml: |
    {{- include "podlv.classesFile" (list $ .pools) | nindent 4 }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ .name }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "podlv.labels" (list $ "agent") | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "podlv.selector" (list $ "agent") | trim | nindent 6 }}
      {{- with .group }}
      podlv.dev/node-group: {{ . }}
      {{- end }}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      # Never a second one beside the first: they would have one socket.
      maxSurge: 0
      maxUnavailable: {{ $agent.maxUnavailable }}
  template:
    metadata:
      labels:
        {{- include "podlv.selector" (list $ "agent") | nindent 8 }}
        {{- with .group }}
        podlv.dev/node-group: {{ . }}
        {{- end }}
        {{- with $agent.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: podlv
        {{- if and $.Values.metrics.enabled $.Values.metrics.annotations }}
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ $.Values.metrics.agentPort | quote }}
        {{- end }}
        {{- with $agent.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: podlv
      {{- with $.Values.imagePullSecrets }}
      imagePullSecrets:
      {{- toYaml . | trim | nindent 6 }}
      {{- end }}
      # The node's volumes must not depend on the pod network. No hostPID and no hostIPC:
      # lvm runs in the container (ARCHITECTURE.md).
      hostNetwork: true
      dnsPolicy: Default # it asks for no name of the cluster
      priorityClassName: {{ $agent.priorityClassName }}
      # What lvm has begun is waited for.
      terminationGracePeriodSeconds: 60
      {{- include "podlv.scheduling" (list (merge (deepCopy .nodeSelector) (dict "kubernetes.io/os" "linux") $agent.nodeSelector) (.affinity | default $agent.affinity) $agent.tolerations) | trim | nindent 6 }}
      containers:
      - name: podlv
        image: {{ include "podlv.image" (list $ $.Values.image) }}
        imagePullPolicy: {{ $.Values.image.pullPolicy }}
        args:
        - node
        - --node-name=$(NODE_NAME)
        - --namespace=$(NAMESPACE)
        - --kubelet-dir={{ $agent.kubeletDir }}
        - --config=/etc/podlv/classes.yaml
        - --http-address={{ ternary "" "127.0.0.1" $.Values.metrics.enabled }}:{{ $.Values.metrics.agentPort }}
        - --log-level={{ $agent.logLevel }}
        {{- with $agent.reaper.interval }}
        - --reaper-interval={{ . }}
        {{- end }}
        {{- with $agent.reaper.minAge }}
        - --reaper-min-age={{ . }}
        {{- end }}
        {{- with $agent.reaper.passes }}
        - --reaper-passes={{ . }}
        {{- end }}
        {{- if $agent.reaper.dryRun }}
        - --reaper-dry-run
        {{- end }}
        env:
        - name: NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        - name: NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        ports:
        # Of the node, so that the scheduler lets no second agent onto it.
        - name: http
          containerPort: {{ $.Values.metrics.agentPort }}
          hostPort: {{ $.Values.metrics.agentPort }}
        # The process answers; LVM is not asked: a restart does not make a hung disk
        # answer, and would end lvm in the middle of a write. Patient, because a node that
        # is overloaded becomes no faster by it: one that answered within 5 s once in 6
        # times was seen to be restarted again and again.
        livenessProbe:
          httpGet:
            path: /healthz
            port: http
            {{- if not $.Values.metrics.enabled }}
            host: 127.0.0.1
            {{- end }}
          periodSeconds: 20
          timeoutSeconds: 20
          failureThreshold: 9
        # LVM answers, and every VG of the pools is there: an lvm report each time.
        readinessProbe:
          httpGet:
            path: /readyz
            port: http
            {{- if not $.Values.metrics.enabled }}
            host: 127.0.0.1
            {{- end }}
          periodSeconds: 20
          timeoutSeconds: 10
        {{- with $agent.resources }}
        resources:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        # Kubernetes allows Bidirectional mount propagation to privileged containers only,
        # and a privileged one has all capabilities. It would need CAP_SYS_ADMIN (mount,
        # device-mapper), CAP_SYS_RAWIO and CAP_MKNOD (devices), CAP_DAC_OVERRIDE and
        # CAP_CHOWN (the pods' folders), and every block device of the node.
        securityContext:
          privileged: true
          readOnlyRootFilesystem: true
          runAsUser: 0
          runAsNonRoot: false
        volumeMounts:
        - name: dev
          mountPath: /dev
        - name: lvm-locks
          mountPath: /run/lock/lvm
        - name: lvm-run
          mountPath: /run/lvm
        {{- if $agent.lvmConfigDir }}
        - name: lvm-config
          mountPath: /etc/lvm
        {{- end }}
        - name: kubelet
          mountPath: {{ $agent.kubeletDir }}
          mountPropagation: Bidirectional
        - name: config
          mountPath: /etc/podlv
          readOnly: true
      volumes:
      # lvm makes the LVs' device nodes in the node's /dev, for everybody to see.
      - name: dev
        hostPath:
          path: /dev
          type: Directory
      # LVM's locks are files: with its own, the agent and an administrator's lvm on
      # the node could write one VG's metadata at once.
      - name: lvm-locks
        hostPath:
          path: /run/lock/lvm
          type: DirectoryOrCreate
      # What lvm keeps of the devices that it has seen (hints), which the node's own lvm
      # clears when it makes a PV; the sockets of lvmlockd and lvmpolld.
      - name: lvm-run
        hostPath:
          path: /run/lvm
          type: DirectoryOrCreate
      {{- with $agent.lvmConfigDir }}
      # The node's lvm.conf and devices file: the agent must see the devices that the
      # node's own lvm sees, no more and no less. lvm writes to the devices file when
      # a disk has another name after a reboot.
      - name: lvm-config
        hostPath:
          path: {{ . }}
          type: DirectoryOrCreate
      {{- end }}
      # kubelet's folder holds the pods' volumes (what is mounted there in the
      # container must appear on the node: Bidirectional), the driver's socket and
      # plugins_registry, where kubelet finds it. At the same path as on the node,
      # because kubelet passes paths.
      - name: kubelet
        hostPath:
          path: {{ $agent.kubeletDir }}
          type: Directory
      - name: config
        configMap:
          name: {{ .name }}
{{- end }}

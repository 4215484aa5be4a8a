{{/* The name of every object: the release's, with `pgsteer` in it once. */}}
{{- define "pgsteer.name" -}}
{{- if contains "pgsteer" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-pgsteer" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "pgsteer.selector" -}}
app.kubernetes.io/name: pgsteer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pgsteer.labels" -}}
{{ include "pgsteer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* What the controller does in a namespace with routes, and no more. */}}
{{- define "pgsteer.rules" -}}
# The role label, the stamp.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# Whether they lead where the route says; never written.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
# Whether they have followed. Made and written only for Services of routes with `routing: EndpointSlices`; never deleted.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, patch]
# Whether the selector of a pod's owner holds the role label; never written.
- apiGroups: [apps]
  resources: [deployments, replicasets, statefulsets]
  verbs: [get]
# The probe's password and the authority of the servers' certificates, by the names that routes give.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# An acceptance, once carried out, is taken off.
- apiGroups: [pgsteer.io]
  resources: [postgresroutes]
  verbs: [get, list, watch, patch]
- apiGroups: [pgsteer.io]
  resources: [postgresroutes/status]
  verbs: [get, patch]
- apiGroups: [pgsteer.io]
  resources: [postgresledgers]
  verbs: [get, list, watch, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What somebody may who only looks: the command line and `kubectl get`, in a namespace with routes. */}}
{{- define "pgsteer.viewer" -}}
- apiGroups: [pgsteer.io]
  resources: [postgresroutes, postgresledgers]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, list, watch]
{{- end }}

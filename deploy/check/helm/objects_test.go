package helm

import (
	"fmt"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	json "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// objects are what was rendered, by kind and name.
type objects map[string]meta.Object

// kinds are all that the chart may render.
var kinds = map[string]func() meta.Object{
	"v1/ConfigMap":                            func() meta.Object { return &core.ConfigMap{} },
	"v1/Service":                              func() meta.Object { return &core.Service{} },
	"apps/v1/Deployment":                      func() meta.Object { return &apps.Deployment{} },
	"apps/v1/StatefulSet":                     func() meta.Object { return &apps.StatefulSet{} },
	"autoscaling/v2/HorizontalPodAutoscaler":  func() meta.Object { return &autoscaling.HorizontalPodAutoscaler{} },
	"networking.k8s.io/v1/NetworkPolicy":      func() meta.Object { return &networking.NetworkPolicy{} },
	"policy/v1/PodDisruptionBudget":           func() meta.Object { return &policy.PodDisruptionBudget{} },
	"monitoring.coreos.com/v1/ServiceMonitor": func() meta.Object { return &monitoring.ServiceMonitor{} },
	"monitoring.coreos.com/v1/PrometheusRule": func() meta.Object { return &monitoring.PrometheusRule{} },
}

// parse reads what was rendered as strictly as an API server that is asked to: no unknown field, no field twice, no other case.
func parse(text string) (objects, error) {
	all := objects{}
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		data, err := yaml.YAMLToJSONStrict([]byte(doc))
		if err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, doc)
		}
		if string(data) == "null" {
			continue
		}
		var head meta.TypeMeta
		if err := json.UnmarshalCaseSensitivePreserveInts(data, &head); err != nil {
			return nil, err
		}
		make := kinds[head.APIVersion+"/"+head.Kind]
		if make == nil {
			return nil, fmt.Errorf("%s %s is none of the chart's kinds", head.APIVersion, head.Kind)
		}
		o := make()
		strict, err := json.UnmarshalStrict(data, o)
		if err != nil || strict != nil {
			return nil, fmt.Errorf("%s: %v %v in:\n%s", head.Kind, err, strict, doc)
		}
		id := head.Kind + "/" + o.GetName()
		if all[id] != nil {
			return nil, fmt.Errorf("%s is there twice", id)
		}
		all[id] = o
	}
	return all, nil
}

func load(t *testing.T, values ...string) objects {
	t.Helper()
	all, err := parse(renderAll(t, values...))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// get is an object that must be there.
func get[T meta.Object](t *testing.T, all objects, id string) T {
	t.Helper()
	o, ok := all[id].(T)
	if !ok {
		t.Fatalf("there is no %s", id)
	}
	return o
}

// bootstrap is Envoy's configuration as rendered.
func bootstrap(t *testing.T, values ...string) string {
	t.Helper()
	for id, o := range load(t, values...) {
		if m, ok := o.(*core.ConfigMap); ok && strings.HasSuffix(id, "-envoy") {
			return m.Data["envoy.yaml"]
		}
	}
	t.Fatal("there is no ConfigMap for Envoy")
	return ""
}

// pods are the templates of the workloads.
func (all objects) pods() map[string]core.PodTemplateSpec {
	found := map[string]core.PodTemplateSpec{}
	for id, o := range all {
		switch w := o.(type) {
		case *apps.Deployment:
			found[id] = w.Spec.Template
		case *apps.StatefulSet:
			found[id] = w.Spec.Template
			for _, c := range w.Spec.VolumeClaimTemplates {
				spec := found[id].Spec
				spec.Volumes = append(spec.Volumes, core.Volume{Name: c.Name, VolumeSource: core.VolumeSource{
					PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: c.Name + "-" + w.Name + "-0"}}})
				found[id] = core.PodTemplateSpec{ObjectMeta: w.Spec.Template.ObjectMeta, Spec: spec}
			}
		}
	}
	return found
}

// What belongs to what, in each setting: names, selectors, ports, volumes.
func TestObjects(t *testing.T) {
	for name, values := range settings(t) {
		t.Run(name, func(t *testing.T) {
			all := load(t, values)
			for id, o := range all {
				if bad := validation.IsDNS1035Label(o.GetName()); bad != nil {
					t.Errorf("%s: %v", id, bad)
				}
				for k, v := range o.GetLabels() {
					if bad := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...); bad != nil {
						t.Errorf("%s: label %s: %s: %v", id, k, v, bad)
					}
				}
			}
			for id, pod := range all.pods() {
				checkVolumes(t, id, pod.Spec)
			}
			checkSelectors(t, all)
		})
	}
}

func checkVolumes(t *testing.T, id string, pod core.PodSpec) {
	mounted := map[string]bool{}
	for _, c := range containers(pod) {
		for _, m := range c.VolumeMounts {
			mounted[m.Name] = true
		}
	}
	for _, v := range pod.Volumes {
		if !mounted[v.Name] {
			t.Errorf("%s: nothing mounts volume %s", id, v.Name)
		}
		delete(mounted, v.Name)
	}
	if len(mounted) > 0 {
		t.Errorf("%s: mounts without a volume: %v", id, mounted)
	}
}

// checkSelectors holds every selector to the pods of one workload, and every port that is named beside it to one of theirs.
func checkSelectors(t *testing.T, all objects) {
	for id, o := range all {
		var selector map[string]string
		var ports []string
		switch o := o.(type) {
		case *core.Service:
			selector = o.Spec.Selector
			for _, p := range o.Spec.Ports {
				ports = append(ports, p.TargetPort.String())
			}
		case *policy.PodDisruptionBudget:
			selector = o.Spec.Selector.MatchLabels
		case *apps.Deployment:
			selector = o.Spec.Selector.MatchLabels
		case *apps.StatefulSet:
			selector = o.Spec.Selector.MatchLabels
		case *networking.NetworkPolicy:
			selector = o.Spec.PodSelector.MatchLabels
			for _, rule := range o.Spec.Ingress {
				for _, p := range rule.Ports {
					ports = append(ports, p.Port.String())
				}
			}
		default:
			continue
		}
		var matched []string
		for workload, pod := range all.pods() {
			if labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
				matched = append(matched, workload)
				for _, p := range ports {
					if !hasPort(pod.Spec, p) {
						t.Errorf("%s names port %s, which %s does not have", id, p, workload)
					}
				}
			}
		}
		if len(matched) != 1 || len(selector) != 3 {
			t.Errorf("%s selects %v by %v, want one workload by three labels", id, matched, selector)
		}
	}
}

func hasPort(pod core.PodSpec, name string) bool {
	for _, c := range containers(pod) {
		for _, p := range c.Ports {
			if p.Name == name {
				return true
			}
		}
	}
	return false
}

func containers(pod core.PodSpec) []core.Container {
	return append(append([]core.Container{}, pod.InitContainers...), pod.Containers...)
}

// The checks above bite.
func TestParseIsStrict(t *testing.T) {
	for name, doc := range map[string]string{
		"unknown field": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {port: 1}",
		"other case":    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterip: None}",
		"field twice":   "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nmetadata: {name: b}",
		"other type":    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: two}",
		"other kind":    "apiVersion: v1\nkind: Secret\nmetadata: {name: a}",
		"twice there":   "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}",
	} {
		if _, err := parse(doc); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

package helm

import (
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// restricted is what Pod Security's restricted profile, in its newest version and that of 1.30, has against a pod.
func restricted(t *testing.T, pod core.PodTemplateSpec) []string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var bad []string
	for _, version := range []api.Version{api.LatestVersion(), api.MajorMinorVersion(1, 30)} {
		level := api.LevelVersion{Level: api.LevelRestricted, Version: version}
		if r := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
			bad = append(bad, r.ForbiddenDetail())
		}
	}
	return bad
}

// hardened is what we ask of a pod beyond that.
func hardened(pod core.PodSpec) (bad []string) {
	want := func(ok bool, what string) {
		if !ok {
			bad = append(bad, what)
		}
	}
	want(pod.AutomountServiceAccountToken != nil && !*pod.AutomountServiceAccountToken, "a service account's token is mounted")
	want(pod.EnableServiceLinks != nil && !*pod.EnableServiceLinks, "service links are on")
	want(pod.SecurityContext.FSGroup != nil, "no fsGroup: files of Secrets cannot be read")
	for _, c := range containers(pod) {
		s := c.SecurityContext
		want(s != nil && s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem, c.Name+": the root file system can be written")
		want(s != nil && s.RunAsUser != nil && *s.RunAsUser > 0, c.Name+": no user by number")
		want(c.Resources.Requests.Cpu().Sign() > 0 && c.Resources.Limits.Memory().Sign() > 0, c.Name+": no request of CPU, or no limit of memory")
		want(c.StartupProbe != nil && c.LivenessProbe != nil && c.ReadinessProbe != nil, c.Name+": a probe is missing")
		for _, p := range []*core.Probe{c.StartupProbe, c.LivenessProbe} {
			readyz := p != nil && p.HTTPGet != nil && p.HTTPGet.Path == "/readyz"
			want(!readyz, c.Name+": a restart hangs on Redis")
		}
		for _, m := range c.VolumeMounts {
			writable := []string{"socket", "data", "audit"}
			want(m.ReadOnly || slices.Contains(writable, m.Name), c.Name+": "+m.Name+" can be written")
			want(m.SubPath == "", c.Name+": "+m.Name+" is mounted by subPath, and would never change")
		}
	}
	return bad
}

func TestPodSecurity(t *testing.T) {
	for name, values := range settings(t) {
		for id, pod := range load(t, values).pods() {
			for _, bad := range append(restricted(t, pod), hardened(pod.Spec)...) {
				t.Errorf("%s: %s: %s", name, id, bad)
			}
		}
	}
}

// Both of the above bite: each change makes a pod that they have something against.
func TestPodSecurityBites(t *testing.T) {
	no, yes := false, true
	for name, change := range map[string]func(p *core.PodSpec, c *core.Container){
		"token":           func(p *core.PodSpec, _ *core.Container) { p.AutomountServiceAccountToken = nil },
		"links":           func(p *core.PodSpec, _ *core.Container) { p.EnableServiceLinks = nil },
		"root":            func(p *core.PodSpec, _ *core.Container) { p.SecurityContext.RunAsNonRoot = nil },
		"seccomp":         func(p *core.PodSpec, _ *core.Container) { p.SecurityContext.SeccompProfile = nil },
		"host network":    func(p *core.PodSpec, _ *core.Container) { p.HostNetwork = true },
		"capabilities":    func(_ *core.PodSpec, c *core.Container) { c.SecurityContext.Capabilities = nil },
		"escalation":      func(_ *core.PodSpec, c *core.Container) { c.SecurityContext.AllowPrivilegeEscalation = &yes },
		"writable root":   func(_ *core.PodSpec, c *core.Container) { c.SecurityContext.ReadOnlyRootFilesystem = &no },
		"liveness":        func(_ *core.PodSpec, c *core.Container) { c.LivenessProbe.HTTPGet.Path = "/readyz" },
		"writable keys":   func(_ *core.PodSpec, c *core.Container) { c.VolumeMounts[1].ReadOnly = false },
		"no memory limit": func(_ *core.PodSpec, c *core.Container) { c.Resources.Limits = nil },
	} {
		pod := load(t, settings(t)["trial"]).pods()["Deployment/shop-postern"]
		change(&pod.Spec, &pod.Spec.InitContainers[0])
		if len(restricted(t, pod))+len(hardened(pod.Spec)) == 0 {
			t.Errorf("%s: nothing found", name)
		}
	}
}

func TestEnds(t *testing.T) {
	sidecar := load(t, settings(t)["trial"], "{postern: {drainSeconds: 40}, envoy: {drainSeconds: 70}}").pods()["Deployment/shop-postern"].Spec
	if got := *sidecar.TerminationGracePeriodSeconds; got < 40+70+5 {
		t.Errorf("sidecar: %d s to end, which needs 110", got)
	}
	if c := sidecar.InitContainers[0]; !slices.Contains(c.Args, "--drain-timeout=40s") || c.RestartPolicy == nil || *c.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Errorf("the gate is no sidecar that drains for 40 s: %+v", c)
	}
	if c := sidecar.Containers[0]; !strings.Contains(strings.Join(c.Lifecycle.PreStop.Exec.Command, " "), "sleep 70") {
		t.Errorf("Envoy does not wait for 70 s: %v", c.Lifecycle.PreStop.Exec.Command)
	}
	alone := load(t, settings(t)["mesh"], "postern: {drainSeconds: 40}").pods()["Deployment/gate"].Spec
	if got, wait := *alone.TerminationGracePeriodSeconds, alone.Containers[0].Lifecycle.PreStop.Sleep.Seconds; wait < 5 || got < 40+wait+5 {
		t.Errorf("service: %d s to end, with %d s before", got, wait)
	}
}

// The socket is open to the gate's group alone: Envoy must be in it, and no one else need be.
func TestSocketIsShared(t *testing.T) {
	pod := load(t, settings(t)["sidecar"]).pods()["Deployment/shop-postern"].Spec
	gate, envoy := pod.InitContainers[0].SecurityContext, pod.Containers[0].SecurityContext
	if *gate.RunAsGroup != *envoy.RunAsGroup || *gate.RunAsGroup != *pod.SecurityContext.FSGroup || *gate.RunAsUser == *envoy.RunAsUser {
		t.Errorf("users %d and %d, groups %d, %d and %d: want two users of one group",
			*gate.RunAsUser, *envoy.RunAsUser, *gate.RunAsGroup, *envoy.RunAsGroup, *pod.SecurityContext.FSGroup)
	}
	for _, c := range pod.Containers {
		for _, m := range c.VolumeMounts {
			if m.Name == "socket" && !m.ReadOnly {
				t.Errorf("%s can take the socket away", c.Name)
			}
			if m.Name == "keys" || m.Name == "catalog" {
				t.Errorf("%s has %s, which is the gate's", c.Name, m.Name)
			}
		}
	}
}

// Who may reach what.
func TestNetworkPolicy(t *testing.T) {
	all := load(t, settings(t)["everything"])
	name := "NetworkPolicy/a-name-of-fifty-characters-which-is-the-longest-on"
	gate := get[*networking.NetworkPolicy](t, all, name+"-gate").Spec
	for i, want := range []string{"http", "ops"} {
		rule := gate.Ingress[i]
		if rule.Ports[0].Port.String() != want || len(rule.From) != 1 {
			t.Errorf("ingress rule %d is %v, want %s from the one peer given", i, rule, want)
		}
	}
	for _, rule := range gate.Egress[1:] { // the first is DNS
		if len(rule.To) == 0 {
			t.Errorf("egress to anywhere: %v", rule)
		}
	}
	if api := gate.Egress[2].Ports; len(api) != 1 || *api[0].Port != intstr.FromInt32(8080) {
		t.Errorf("the API is reached by %v, want the pods' port that was given", api)
	}
	redis := get[*networking.NetworkPolicy](t, all, name+"-redis").Spec
	if len(redis.Ingress) != 1 || len(redis.Ingress[0].From) != 2 || len(redis.Egress) != 0 {
		t.Errorf("Redis is reached by more than the gate and the management server: %+v", redis)
	}
	if admin := get[*networking.NetworkPolicy](t, load(t, settings(t)["everything-service"]), "NetworkPolicy/shop-postern-admin").Spec; len(admin.Ingress) != 0 {
		t.Errorf("the management server is open to %v, want nobody", admin.Ingress)
	}
}

// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// makeCredentials makes all certificates and kubeconfigs.
func (c *Cluster) makeCredentials() error {
	a, err := newAuthority(filepath.Join(c.cfg.Dir, "pki"))
	if err != nil {
		return err
	}
	c.authority = a
	if err := a.signingKeys(); err != nil {
		return err
	}
	type identity struct{ name, user, group string }
	ids := []identity{
		{"apiserver", "kube-apiserver", "none"},
		{"admin", "admin", "system:masters"},
		{"kcm", "system:kube-controller-manager", "none"},
		{"scheduler", "system:kube-scheduler", "none"},
	}
	for _, n := range c.nodes {
		ids = append(ids, identity{n.Name, "system:node:" + n.Name, "system:nodes"})
	}
	for i, id := range ids {
		ips := []string{hostIP, serviceIP, "127.0.0.1"}
		if n := i - (len(ids) - len(c.nodes)); n >= 0 {
			ips = []string{nodeIP(n + 1)}
		}
		if err := a.issue(id.name, id.user, id.group, ips...); err != nil {
			return err
		}
		path, err := a.kubeconfig(id.name)
		if err != nil {
			return err
		}
		if id.name == "admin" {
			c.Kubeconfig = path
		}
	}
	return nil
}

// startControlPlane starts the four processes and returns when the API server is
// ready.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	p := c.authority.path
	const etcd = "http://127.0.0.1:2379"
	if err := c.StartController("etcd",
		"--data-dir="+filepath.Join(c.cfg.Disks, "etcd"),
		"--unsafe-no-fsync", // what a crash of this host would lose, nobody wants back
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls=http://127.0.0.1:2380",
	); err != nil {
		return err
	}
	audit, err := c.auditFlags()
	if err != nil {
		return err
	}
	if err := c.StartController("kube-apiserver", append(audit,
		"--etcd-servers="+etcd,
		"--bind-address=0.0.0.0", "--secure-port="+apiPort, "--advertise-address="+hostIP,
		"--cert-dir="+c.authority.dir,
		"--tls-cert-file="+p("apiserver.crt"), "--tls-private-key-file="+p("apiserver.key"), "--client-ca-file="+p("ca.crt"),
		"--service-account-key-file="+p("sa.pub"), "--service-account-signing-key-file="+p("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range="+serviceRange,
		"--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--kubelet-client-certificate="+p("admin.crt"), "--kubelet-client-key="+p("admin.key"),
		"--kubelet-certificate-authority="+p("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
	)...); err != nil {
		return err
	}
	if err := c.poll(ctx, "the API server", 100*time.Millisecond, func(ctx context.Context) error {
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	scheduler := p("scheduler.conf")
	if err := c.StartController("kube-scheduler", "--leader-elect=false",
		"--kubeconfig="+scheduler, "--authentication-kubeconfig="+scheduler, "--authorization-kubeconfig="+scheduler,
	); err != nil {
		return err
	}
	return c.StartController("kube-controller-manager", "--leader-elect=false",
		"--kubeconfig="+p("kcm.conf"), "--service-account-private-key-file="+p("sa.key"), "--root-ca-file="+p("ca.crt"),
		"--use-service-account-credentials",
		"--controllers=serviceaccount-controller,root-ca-certificate-publisher-controller,daemonset-controller,replicaset-controller,deployment-controller,statefulset-controller,job-controller,disruption-controller,"+
			"node-lifecycle-controller,taint-eviction-controller,pod-garbage-collector-controller,garbage-collector-controller,namespace-controller,"+
			"persistentvolume-binder-controller,persistentvolume-expander-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller,ephemeral-volume-controller,persistentvolume-attach-detach-controller,resourcequota-controller",
	)
}

// auditFlags have the API server note the requests of Config.Audited.
func (c *Cluster) auditFlags() ([]string, error) {
	if len(c.cfg.Audited) == 0 {
		return nil, nil
	}
	policy := filepath.Join(c.cfg.Dir, "audit.json")
	err := writeJSON(policy, map[string]any{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": []string{"RequestReceived"},
		"rules": []any{map[string]any{"level": "Metadata", "users": c.cfg.Audited}, map[string]any{"level": "None"}},
	})
	return []string{"--audit-policy-file=" + policy, "--audit-log-path=" + c.AuditLog(), "--audit-log-mode=blocking"}, err
}

// startProcess starts a program; its output goes to a log of its name. That it ends
// before Close ends the cluster.
func (c *Cluster) startProcess(program string, args ...string) error {
	name := filepath.Base(program)
	log, err := os.Create(filepath.Join(c.Logs(), name+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	c.processes = append(c.processes, p)
	go func() {
		defer close(p.ended)
		err := cmd.Wait()
		c.fail(fmt.Errorf("%s ended: %v; its log is %s", name, err, log.Name()))
	}()
	return nil
}

// process is one of the control plane.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

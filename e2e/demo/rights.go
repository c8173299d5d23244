// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/podlv/podlv/e2e/lab"
	"github.com/podlv/podlv/e2e/rights"
)

// accounts are the users of the chart's ServiceAccounts.
var accounts = []string{
	"system:serviceaccount:" + lab.Namespace + ":podlv",
	"system:serviceaccount:" + lab.Namespace + ":podlv-controller",
	"system:serviceaccount:" + lab.Namespace + ":podlv-snapshot-controller",
}

// Names of ServiceAccounts.
const agent, controller, snapshotController = "podlv", "podlv-controller", "podlv-snapshot-controller"

// unseen are the rights that the chart gives and the demo does not always use: what for.
var unseen = map[rights.Right]string{
	{Account: agent, Verb: "get", Resource: "persistentvolumes"}:                                             "the source of a clone",
	{Account: agent, Verb: "update", Resource: "persistentvolumeclaims"}:                                     "a finalizer on the source of a clone; a claim that goes back to the scheduler",
	{Account: agent, Verb: "patch", Resource: "persistentvolumeclaims"}:                                      "the node of a restore or a clone, when the scheduler chose another",
	{Account: agent, Verb: "delete", Resource: "csistoragecapacities.storage.k8s.io"}:                        "the capacity of a StorageClass that is gone",
	{Account: agent, Verb: "list", Resource: "csistoragecapacities.storage.k8s.io"}:                          "what an agent before this one published",
	{Account: agent, Verb: "patch", Resource: "csistoragecapacities.storage.k8s.io"}:                         "a pool that has changed",
	{Account: agent, Verb: "update", Resource: "volumesnapshots.snapshot.storage.k8s.io"}:                    "a finalizer on the source of a restore",
	{Account: agent, Verb: "update", Resource: "volumesnapshotcontents.snapshot.storage.k8s.io/status"}:      "what a content says of a snapshot that is deleted",
	{Account: agent, Verb: "patch", Resource: "events"}:                                                      "an event that comes again",
	{Account: controller, Verb: "patch", Resource: "events"}:                                                 "an event of the resizer's that comes again",
	{Account: controller, Verb: "get", Resource: "nodes"}:                                                    "is a node that is gone really gone?",
	{Account: controller, Verb: "get", Resource: "persistentvolumeclaims"}:                                   "the claim of a volume whose node is gone",
	{Account: controller, Verb: "patch", Resource: "persistentvolumeclaims"}:                                 "the finalizer of a claim that was cloned, whose node is gone",
	{Account: controller, Verb: "delete", Resource: "persistentvolumeclaims"}:                                "a claim whose node is gone, with podlv.dev/on-node-loss: delete",
	{Account: controller, Verb: "delete", Resource: "persistentvolumes"}:                                     "its volume",
	{Account: controller, Verb: "get", Resource: "storageclasses.storage.k8s.io"}:                            "is the StorageClass of a capacity object really gone?",
	{Account: controller, Verb: "delete", Resource: "csistoragecapacities.storage.k8s.io"}:                   "the capacity of a node or a StorageClass that is gone",
	{Account: snapshotController, Verb: "get", Resource: "persistentvolumeclaims"}:                           "to take its finalizer off a claim that has changed meanwhile",
	{Account: snapshotController, Verb: "patch", Resource: "events"}:                                         "an event that comes again",
	{Account: snapshotController, Verb: "patch", Resource: "volumesnapshots.snapshot.storage.k8s.io/status"}: "a snapshot whose content has gone",
}

// checkRights compares the chart's RBAC with what the API server has seen.
func (d *demo) checkRights(ctx context.Context) error {
	granted, err := rights.Granted(ctx, d.Client, lab.Namespace)
	if err != nil {
		return err
	}
	log, err := os.Open(d.AuditLog())
	if err != nil {
		return err
	}
	defer log.Close()
	used, refused, err := rights.Seen(log, lab.Namespace)
	if err != nil {
		return err
	}
	c := rights.Compare(granted, used, refused, unseen)
	if err := c.Err(); err != nil {
		return err
	}
	d.note("of what RBAC lets podlv do, %d verbs were used and %d are for what the demo does not do; nothing was refused", c.Used, c.Explained)
	return nil
}

// uninstall removes podlv. What it leaves is an administrator's to remove, and the VG is
// as it was.
func (d *demo) uninstall(ctx context.Context) error {
	if err := d.Helm(ctx, "uninstall", "podlv", "--namespace="+lab.Namespace, "--wait", "--timeout=4m"); err != nil {
		return err
	}
	// Helm waits for the DaemonSet and the Deployments, not for their pods.
	if _, err := d.Kubectl(ctx, nil, "wait", "--for=delete", "pods", "-n", lab.Namespace, "-l", "app.kubernetes.io/name=podlv", "--timeout=180s"); err != nil {
		return err
	}
	left, err := d.Kubectl(ctx, nil, "get", "all,csidrivers,storageclasses,clusterroles,clusterrolebindings,mutatingadmissionpolicies,validatingadmissionpolicies", "-n", lab.Namespace, "-l", "app.kubernetes.io/name=podlv", "-o", "name")
	if err != nil {
		return err
	}
	if left = strings.TrimSpace(left); left != "" {
		return fmt.Errorf("helm uninstall has left %s", strings.Join(strings.Fields(left), ", "))
	}
	d.note("podlv is uninstalled")
	return nil
}

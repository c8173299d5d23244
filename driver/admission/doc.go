// SPDX-License-Identifier: Apache-2.0

// Package admission makes the admission policies of a cluster from its device classes,
// so that an unmodified scheduler knows what the volumes in a pod's spec take.
//
// There are only a Config and the Objects that it becomes, of
// admissionregistration.k8s.io/v1 (Kubernetes 1.36):
//
//   - for each pool a mutating policy, which raises the pod's request of podlv.dev/POOL to
//     what its volumes are charged, and a validating one, which refuses a pod that asks
//     for less;
//   - one that says what is wrong with an inline volume;
//   - two that hold each agent to its own node: to podlv.dev/* of its Node's status, and
//     to the CSIStorageCapacity objects of its node.
//
// One mutating policy a pool, not one a class: the classes of a pool share its request,
// and only what sees all of them can set it, where several would have to add. To set it
// to what it must be can be repeated without harm, so that a policy may run again when
// another one or a webhook has changed the pod.
//
// CEL computes what driver.Class.Charge computes, with the numbers of driver.Rate. What
// it cannot compute it leaves alone: mutating comes before validating, which then says
// why not.
package admission

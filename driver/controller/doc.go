// SPDX-License-Identifier: Apache-2.0

// Package controller does what a cluster with podlv needs done once, and not by the
// agent of each node: it says on claims and StorageClasses why they cannot work, takes
// claims of nodes that are gone out of the way where their StorageClass wants that, and
// removes capacity objects that nobody owns any more.
//
// There are only a Config and the Controller that New makes of it. It keeps no state:
// whenever something has changed it makes a pass over all objects, from the informers'
// memory, and what it has done already it finds done. Before it deletes anything it asks
// the API server itself whether the node is really gone, and it deletes by UID.
package controller

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// adoptFlags are the flags of podlv adopt.
type adoptFlags struct {
	config, node, lvmPath string
	storageClass          string
	adoption              driver.Adoption
}

func adoptCommand() *cobra.Command {
	f := &adoptFlags{}
	cmd := &cobra.Command{
		Use:   "adopt VG/LV",
		Short: "Make an LV that is there the volume of a claim, with all that is on it; prints the claim and its volume for kubectl create",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.node, "node-name", "", "name of this Kubernetes node, which has the LV (required)")
	flags.StringVar(&f.adoption.Claim, "claim", "", "NAMESPACE/NAME of the claim (required)")
	flags.StringVar(&f.storageClass, "storage-class", "", "StorageClass of the claim (required)")
	flags.StringVar(&f.adoption.Class, "class", "", "device class of the volume (default: the node's default class)")
	flags.BoolVar(&f.adoption.Block, "block", false, "pods get it as a raw block device")
	flags.StringVar(&f.config, "config", "/etc/podlv/classes.yaml", "file of pools and device classes")
	flags.StringVar(&f.lvmPath, "lvm", "lvm", "the lvm program")
	for _, name := range []string{"node-name", "claim", "storage-class"} {
		_ = cmd.MarkFlagRequired(name) // fails only for a flag that does not exist
	}
	return cmd
}

func (f *adoptFlags) run(cmd *cobra.Command, volume string) error {
	classes, err := driver.LoadClasses(f.config)
	if err != nil {
		return err
	}
	f.adoption.Volume = volume
	adopter := driver.Adopter{Classes: classes.Get(), Runner: lvm.Exec{Path: f.lvmPath}, Filesystem: driver.NewLinux()}
	adopted, err := adopter.Adopt(cmd.Context(), f.adoption)
	if err != nil {
		return err
	}
	return f.print(cmd.OutOrStdout(), adopted)
}

// print writes the claim and the volume as they are when podlv makes them, but for the
// reclaim policy: what somebody else has made is kept until somebody says otherwise.
func (f *adoptFlags) print(w io.Writer, a driver.Adopted) error {
	namespace, name, _ := strings.Cut(f.adoption.Claim, "/")
	size := corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(a.Size, resource.BinarySI)}
	mode, modes := corev1.PersistentVolumeFilesystem, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	if a.Filesystem == "" {
		mode = corev1.PersistentVolumeBlock
	}
	volume := corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{
			Name: namespace + "." + name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": driver.Name},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, VolumeMode: &mode, StorageClassName: f.storageClass, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:               &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: namespace, Name: name},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: a.Handle, FSType: a.Filesystem, VolumeAttributes: a.Context}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{f.node}}},
			}}}},
		},
	}
	claim := corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: modes, VolumeMode: &mode, StorageClassName: &f.storageClass, VolumeName: volume.Name, Resources: corev1.VolumeResourceRequirements{Requests: size},
		},
	}
	for _, o := range []any{volume, claim} {
		text, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

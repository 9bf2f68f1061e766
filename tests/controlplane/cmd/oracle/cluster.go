package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

// cluster is what files say: pods apart, all else by kind for the informers.
type cluster struct {
	file       string
	nodes      []*v1.Node
	running    []*v1.Pod
	pending    []*v1.Pod
	objects    []runtime.Object
	namespaces map[string]bool
	classes    map[string]int32
}

var suffixes = []string{".yaml", ".yml", ".json"}

// listed names all files: those given, and in folders all manifests by name.
func listed(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if slices.Contains(suffixes, filepath.Ext(entry.Name())) {
				files = append(files, filepath.Join(path, entry.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no manifests")
	}
	return files, nil
}

// read makes one cluster of files, with what an API server would have added to its objects.
func read(files []string) (*cluster, error) {
	made := &cluster{
		file:       files[0],
		namespaces: map[string]bool{},
		classes:    map[string]int32{"system-cluster-critical": 2000000000, "system-node-critical": 2000001000},
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		// The reader loses a last line without an end whose length is a multiple of its buffer.
		reader := yaml.NewYAMLReader(bufioReader(append(content, 10)))
		for number := 1; ; number++ {
			document, err := reader.Read()
			if err == io.EOF {
				break
			}
			if err == nil && len(bytes.TrimSpace(document)) > 0 {
				err = made.add(document)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: document %d: %w", file, number, err)
			}
		}
	}
	made.finish()
	return made, nil
}

func (c *cluster) add(document []byte) error {
	encoded, err := yaml.ToJSON(document)
	if err != nil {
		return err
	}
	if bytes.Equal(encoded, []byte("null")) {
		return nil
	}
	object, kind, err := legacyscheme.Codecs.UniversalDeserializer().Decode(encoded, nil, nil)
	if err != nil {
		return err
	}
	if list, ok := object.(*v1.List); ok {
		for _, item := range list.Items {
			if err := c.add(item.Raw); err != nil {
				return err
			}
		}
		return nil
	}
	legacyscheme.Scheme.Default(object)
	meta := object.(metav1.Object)
	if meta.GetUID() == "" {
		// The scheduler drops pods without a uid.
		meta.SetUID(types.UID(fmt.Sprintf("%s/%s/%s", kind.Kind, meta.GetNamespace(), meta.GetName())))
	}
	return c.put(object, meta)
}

func (c *cluster) put(object runtime.Object, meta metav1.Object) error {
	switch typed := object.(type) {
	case *v1.Node:
		c.nodes = append(c.nodes, typed)
	case *v1.Namespace:
		c.namespaces[typed.Name] = true
		metav1.SetMetaDataLabel(&typed.ObjectMeta, v1.LabelMetadataName, typed.Name)
		c.objects = append(c.objects, typed)
	case *schedulingv1.PriorityClass:
		c.classes[typed.Name] = typed.Value
		if typed.GlobalDefault {
			c.classes[""] = typed.Value
		}
	case *policyv1.PodDisruptionBudget:
	case *v1.Pod:
		c.inNamespace(meta)
		mergeKeys(typed)
		if typed.Status.Phase == v1.PodSucceeded || typed.Status.Phase == v1.PodFailed {
			return nil
		}
		if typed.Spec.NodeName != "" {
			c.running = append(c.running, typed)
		} else if len(typed.Spec.SchedulingGates) == 0 && typed.DeletionTimestamp == nil {
			c.pending = append(c.pending, typed)
		}
	case *v1.PersistentVolumeClaim:
		c.inNamespace(meta)
		c.objects = append(c.objects, typed)
	default:
		if informed(object) == "" {
			return fmt.Errorf("%T has no part in scheduling", object)
		}
		c.objects = append(c.objects, object)
	}
	return nil
}

func (c *cluster) inNamespace(meta metav1.Object) {
	if meta.GetNamespace() == "" {
		meta.SetNamespace(metav1.NamespaceDefault)
	}
}

// finish resolves what needs the whole cluster: priorities, order, namespaces that nobody gave.
func (c *cluster) finish() {
	known := map[string]bool{}
	for _, node := range c.nodes {
		known[node.Name] = true
	}
	// The scheduler keeps pods of nodes that it does not know out of its snapshots.
	c.running = slices.DeleteFunc(c.running, func(pod *v1.Pod) bool { return !known[pod.Spec.NodeName] })
	for _, pod := range append(slices.Clone(c.running), c.pending...) {
		if pod.Spec.Priority == nil {
			value := c.classes[pod.Spec.PriorityClassName]
			pod.Spec.Priority = &value
		}
		if !c.namespaces[pod.Namespace] {
			c.namespaces[pod.Namespace] = true
			namespace := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}}
			metav1.SetMetaDataLabel(&namespace.ObjectMeta, v1.LabelMetadataName, pod.Namespace)
			c.objects = append(c.objects, namespace)
		}
	}
	sort.SliceStable(c.pending, func(i, j int) bool {
		one, other := c.pending[i], c.pending[j]
		if *one.Spec.Priority != *other.Spec.Priority {
			return *one.Spec.Priority > *other.Spec.Priority
		}
		return one.CreationTimestamp.Before(&other.CreationTimestamp)
	})
}

// mergeKeys does what kube-apiserver does to a pod's label selectors when it admits the pod.
func mergeKeys(pod *v1.Pod) {
	if affinity := pod.Spec.Affinity; affinity != nil {
		if affinity.PodAffinity != nil {
			mergeTerms(pod, affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
				affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if affinity.PodAntiAffinity != nil {
			mergeTerms(pod, affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
				affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		constraint := &pod.Spec.TopologySpreadConstraints[i]
		mergeInto(constraint.LabelSelector, constraint.MatchLabelKeys, metav1.LabelSelectorOpIn, pod.Labels)
	}
}

func mergeTerms(pod *v1.Pod, required []v1.PodAffinityTerm, preferred []v1.WeightedPodAffinityTerm) {
	terms := make([]*v1.PodAffinityTerm, 0, len(required)+len(preferred))
	for i := range required {
		terms = append(terms, &required[i])
	}
	for i := range preferred {
		terms = append(terms, &preferred[i].PodAffinityTerm)
	}
	for _, term := range terms {
		mergeInto(term.LabelSelector, term.MatchLabelKeys, metav1.LabelSelectorOpIn, pod.Labels)
		mergeInto(term.LabelSelector, term.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, pod.Labels)
	}
}

func mergeInto(selector *metav1.LabelSelector, keys []string, operator metav1.LabelSelectorOperator, labels map[string]string) {
	if selector == nil {
		return
	}
	for _, key := range keys {
		if value, ok := labels[key]; ok {
			requirement := metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}}
			selector.MatchExpressions = append(selector.MatchExpressions, requirement)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"sort"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// verdict is what the plugins say of one pod.
type verdict struct {
	File     string                      `json:"file"`
	Pod      string                      `json:"pod"`
	Node     string                      `json:"node"`
	Feasible []string                    `json:"feasible"`
	Scores   map[string]map[string]int64 `json:"scores"`
	Reasons  map[string][]string         `json:"reasons"`
}

// snapshot lets one framework read one cluster after another.
type snapshot struct{ *internalcache.Snapshot }

// judge is one framework whose informers are never started: clusters are put into their indexers.
type judge struct {
	framework framework.Framework
	lister    *snapshot
	indexers  map[string]cache.Indexer
}

func newJudge() (*judge, error) {
	ctx := context.Background()
	metrics.Register()
	config, err := latest.Default()
	if err != nil {
		return nil, err
	}
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	storage, core := factory.Storage().V1(), factory.Core().V1()
	slices, err := tracker.StartTracker(ctx, tracker.Options{SliceInformer: factory.Resource().V1().ResourceSlices(), KubeClient: client})
	if err != nil {
		return nil, err
	}
	claims := assumecache.NewAssumeCache(klog.FromContext(ctx), factory.Resource().V1().ResourceClaims().Informer(), "ResourceClaim", "", nil)
	lister := &snapshot{internalcache.NewEmptySnapshot()}
	made, err := frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), &config.Profiles[0],
		frameworkruntime.WithClientSet(client),
		frameworkruntime.WithInformerFactory(factory),
		frameworkruntime.WithSnapshotSharedLister(lister),
		frameworkruntime.WithParallelism(1),
		frameworkruntime.WithSharedDRAManager(dynamicresources.NewDRAManager(ctx, claims, slices, factory)),
		frameworkruntime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(storage.CSINodes().Lister())),
	)
	if err != nil {
		return nil, err
	}
	return &judge{made, lister, map[string]cache.Indexer{
		"Node":                  core.Nodes().Informer().GetIndexer(),
		"Pod":                   core.Pods().Informer().GetIndexer(),
		"Namespace":             core.Namespaces().Informer().GetIndexer(),
		"PersistentVolume":      core.PersistentVolumes().Informer().GetIndexer(),
		"PersistentVolumeClaim": core.PersistentVolumeClaims().Informer().GetIndexer(),
		"Service":               core.Services().Informer().GetIndexer(),
		"StorageClass":          storage.StorageClasses().Informer().GetIndexer(),
		"CSINode":               storage.CSINodes().Informer().GetIndexer(),
		"CSIDriver":             storage.CSIDrivers().Informer().GetIndexer(),
		"CSIStorageCapacity":    storage.CSIStorageCapacities().Informer().GetIndexer(),
		"VolumeAttachment":      storage.VolumeAttachments().Informer().GetIndexer(),
	}}, nil
}

// informed names the kind of objects that an informer holds, "" for others.
func informed(object runtime.Object) string {
	switch object.(type) {
	case *v1.Namespace:
		return "Namespace"
	case *v1.PersistentVolume:
		return "PersistentVolume"
	case *v1.PersistentVolumeClaim:
		return "PersistentVolumeClaim"
	case *v1.Service:
		return "Service"
	case *storagev1.StorageClass:
		return "StorageClass"
	case *storagev1.CSINode:
		return "CSINode"
	case *storagev1.CSIDriver:
		return "CSIDriver"
	case *storagev1.CSIStorageCapacity:
		return "CSIStorageCapacity"
	case *storagev1.VolumeAttachment:
		return "VolumeAttachment"
	}
	return ""
}

// cluster judges each pending pod in order; in a sequence those before it have been placed.
func (j *judge) cluster(c *cluster, sequence bool, given map[string]map[string]string) ([]*verdict, error) {
	if err := j.fill(c); err != nil {
		return nil, err
	}
	pods := c.running
	j.lister.Snapshot = internalcache.NewSnapshot(pods, c.nodes)
	verdicts := make([]*verdict, 0, len(c.pending))
	ctx := context.Background()
	for _, pod := range c.pending {
		state := framework.NewCycleState()
		found, err := j.pod(ctx, state, pod)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, found)
		if !sequence {
			continue
		}
		found.Node = chosen(found, c.file, given)
		if found.Node != "" {
			// Plugins remember what they reserve beyond this cluster, so all is given back at its end.
			j.framework.RunReservePluginsReserve(ctx, state, pod, found.Node)
			defer j.framework.RunReservePluginsUnreserve(ctx, state, pod, found.Node)
			placed := pod.DeepCopy()
			placed.Spec.NodeName = found.Node
			pods = append(pods, placed)
			j.lister.Snapshot = internalcache.NewSnapshot(pods, c.nodes)
		}
	}
	return verdicts, nil
}

// chosen is the node that was given, or else the best one, the first by name among equals.
func chosen(found *verdict, file string, given map[string]map[string]string) string {
	if given != nil {
		return given[file][found.Pod]
	}
	best := ""
	for _, name := range found.Feasible {
		if best == "" || found.Scores[name]["total"] > found.Scores[best]["total"] {
			best = name
		}
	}
	return best
}

func (j *judge) fill(c *cluster) error {
	byKind := map[string][]any{}
	for _, node := range c.nodes {
		byKind["Node"] = append(byKind["Node"], node)
	}
	for _, pod := range append(append([]*v1.Pod{}, c.running...), c.pending...) {
		byKind["Pod"] = append(byKind["Pod"], pod)
	}
	for _, object := range c.objects {
		kind := informed(object)
		byKind[kind] = append(byKind[kind], object)
	}
	for kind, indexer := range j.indexers {
		if err := indexer.Replace(byKind[kind], ""); err != nil {
			return err
		}
	}
	return nil
}

// pod runs the filters on every node, and the scores on those that are left. A plugin that fails keeps a
// pod from its node like one that refuses it.
func (j *judge) pod(ctx context.Context, state fwk.CycleState, pod *v1.Pod) (*verdict, error) {
	found := &verdict{
		Pod:      pod.Namespace + "/" + pod.Name,
		Feasible: []string{},
		Scores:   map[string]map[string]int64{},
		Reasons:  map[string][]string{},
	}
	nodes, err := j.lister.NodeInfos().List()
	if err != nil {
		return nil, err
	}
	sort.Slice(nodes, func(a, b int) bool { return nodes[a].Node().Name < nodes[b].Node().Name })
	result, status, _ := j.framework.RunPreFilterPlugins(ctx, state, pod)
	var feasible []fwk.NodeInfo
	for _, node := range nodes {
		name, verdict := node.Node().Name, status
		if verdict.IsSuccess() && !result.AllNodes() && !result.NodeNames.Has(name) {
			verdict = fwk.NewStatus(fwk.Unschedulable, "not among the nodes that PreFilter names")
		}
		if verdict.IsSuccess() {
			verdict = j.framework.RunFilterPlugins(ctx, state.Clone(), pod, node)
		}
		if !verdict.IsSuccess() {
			found.Reasons[name] = verdict.Reasons()
			continue
		}
		found.Feasible = append(found.Feasible, name)
		feasible = append(feasible, node)
	}
	return found, j.score(ctx, state, pod, feasible, found)
}

func (j *judge) score(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo, found *verdict) error {
	if len(nodes) == 0 {
		return nil
	}
	if status := j.framework.RunPreScorePlugins(ctx, state, pod, nodes); !status.IsSuccess() {
		return status.AsError()
	}
	scores, status := j.framework.RunScorePlugins(ctx, state, pod, nodes)
	if !status.IsSuccess() {
		return status.AsError()
	}
	for _, node := range scores {
		named := map[string]int64{"total": node.TotalScore}
		for _, plugin := range node.Scores {
			named[plugin.Name] = plugin.Score
		}
		found.Scores[node.Name] = named
	}
	return nil
}

func bufioReader(content []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(content)) }

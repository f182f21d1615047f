// CSI-controller stands before a CSI driver without a controller, for csi-sanity: it makes the volumes that the driver then publishes.
//
// A volume of it is an ephemeral one of a pod, as the kubelet makes them: nothing but a context (the flag -context, JSON). What the kubelet does and
// csi-sanity cannot be told to do is done here, and nothing else is changed on the way: volumes are read-only, and their folder is called `mount`.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// The identity of the driver, which with this program has a controller.
type identity struct {
	csi.UnimplementedIdentityServer
	driver csi.IdentityClient
}

func (s identity) GetPluginInfo(ctx context.Context, r *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return s.driver.GetPluginInfo(ctx, r)
}

func (s identity) Probe(ctx context.Context, r *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return s.driver.Probe(ctx, r)
}

func (s identity) GetPluginCapabilities(ctx context.Context, r *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	answer, err := s.driver.GetPluginCapabilities(ctx, r)
	if err != nil {
		return nil, err
	}
	service := &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}
	answer.Capabilities = append(answer.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: service}})
	return answer, nil
}

// The controller.
type controller struct {
	csi.UnimplementedControllerServer
	context map[string]string
	mutex   sync.Mutex
	volumes map[string]bool
}

func (s *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	rpc := &csi.ControllerServiceCapability_RPC{Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME}
	capability := &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: rpc}}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{capability}}, nil
}

func (s *controller) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.GetName() == "" || len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a volume needs a name and capabilities")
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.volumes[r.GetName()] = true
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: r.GetName(), VolumeContext: s.context}}, nil
}

func (s *controller) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.volumes, r.GetVolumeId())
	return &csi.DeleteVolumeResponse{}, nil
}

// The node service of the driver.
type node struct {
	csi.UnimplementedNodeServer
	driver csi.NodeClient
}

// place is where the kubelet would have the volume.
func place(path string) string {
	if folder, found := strings.CutSuffix(path, "/target"); found {
		return folder + "/mount"
	}
	return path
}

func (s node) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	r.Readonly, r.TargetPath = true, place(r.GetTargetPath())
	return s.driver.NodePublishVolume(ctx, r)
}

func (s node) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	r.TargetPath = place(r.GetTargetPath())
	return s.driver.NodeUnpublishVolume(ctx, r)
}

func (s node) NodeGetVolumeStats(ctx context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	r.VolumePath = place(r.GetVolumePath())
	return s.driver.NodeGetVolumeStats(ctx, r)
}

func (s node) NodeGetCapabilities(ctx context.Context, r *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return s.driver.NodeGetCapabilities(ctx, r)
}

func (s node) NodeGetInfo(ctx context.Context, r *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return s.driver.NodeGetInfo(ctx, r)
}

func main() {
	driver := flag.String("driver", "", "the driver's socket")
	endpoint := flag.String("endpoint", "", "where both are served")
	text := flag.String("context", "{}", "the context of each volume, a JSON map")
	flag.Parse()
	volumes := map[string]string{}
	if err := json.Unmarshal([]byte(*text), &volumes); err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient("unix://"+*driver, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", *endpoint)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, identity{driver: csi.NewIdentityClient(connection)})
	csi.RegisterControllerServer(server, &controller{context: volumes, volumes: map[string]bool{}})
	csi.RegisterNodeServer(server, node{driver: csi.NewNodeClient(connection)})
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

// CSI-provider is a provider of the Secrets Store CSI driver for tests, on the driver's own published code for providers.
//
// It refuses what the driver's own test provider refuses (test/e2eprovider, which is published as no module): calls whose authority is not
// `localhost`, attributes, secrets and permissions that are no JSON, a missing target path, and a pod whose tokens it does not find.
//
// What it answers stands in the class: `objects` is a JSON list of {"objectName", "contents", "mode", "counted"}. Where it says "counted", the contents
// are the number of times that the pod's volume was asked for, and that is the version too. `audience` names a token that it insists on,
// `failure` is what it fails with instead.
//
// With `-ask SOCKET` it is the other side: it asks the provider at that socket as the driver does, with the request on its standard input, and
// prints the name that the provider gives itself and its answer, as JSON. A refusal is printed with its code, and the status is 2.
//
// With `-register DRIVER=SOCKET` it does what the sidecar of a CSI driver does (node-driver-registrar): it tells the kubelet, which asks at
// `-endpoint`, where that driver has its socket on the node.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"sigs.k8s.io/secrets-store-csi-driver/provider/v1alpha1"
)

type object struct {
	ObjectName string `json:"objectName"`
	Contents   string `json:"contents"`
	Mode       int32  `json:"mode"`
	Counted    bool   `json:"counted"`
}

type server struct {
	mutex sync.Mutex
	// How often each pod's volume was asked for, by the pod's uid.
	calls map[string]int
}

func (s *server) Version(context.Context, *v1alpha1.VersionRequest) (*v1alpha1.VersionResponse, error) {
	return &v1alpha1.VersionResponse{Version: "v1alpha1", RuntimeName: "csi-provider", RuntimeVersion: "1"}, nil
}

func (s *server) Mount(_ context.Context, request *v1alpha1.MountRequest) (*v1alpha1.MountResponse, error) {
	var attributes, secrets map[string]string
	var permission os.FileMode
	for name, text := range map[string]struct {
		text string
		into any
	}{
		"attributes":      {request.GetAttributes(), &attributes},
		"secrets":         {request.GetSecrets(), &secrets},
		"file permission": {request.GetPermission(), &permission},
	} {
		if err := json.Unmarshal([]byte(text.text), text.into); err != nil {
			return nil, fmt.Errorf("failed to unmarshal %s, error: %w", name, err)
		}
	}
	if request.GetTargetPath() == "" {
		return nil, errors.New("missing target path")
	}
	if failure := attributes["failure"]; failure != "" {
		return nil, errors.New(failure)
	}
	if audience := attributes["audience"]; audience != "" {
		if err := hasToken(attributes["csi.storage.k8s.io/serviceAccount.tokens"], audience); err != nil {
			return nil, err
		}
	}
	var objects []object
	if err := json.Unmarshal([]byte(attributes["objects"]), &objects); err != nil {
		return nil, fmt.Errorf("failed to unmarshal objects, error: %w", err)
	}
	s.mutex.Lock()
	s.calls[attributes["csi.storage.k8s.io/pod.uid"]]++
	calls := strconv.Itoa(s.calls[attributes["csi.storage.k8s.io/pod.uid"]])
	s.mutex.Unlock()
	response := &v1alpha1.MountResponse{}
	for _, object := range objects {
		version := "v1"
		if object.Counted {
			object.Contents, version = calls, "v"+calls
		}
		response.Files = append(response.Files, &v1alpha1.File{
			Path: object.ObjectName, Mode: object.Mode, Contents: []byte(object.Contents),
		})
		response.ObjectVersion = append(response.ObjectVersion, &v1alpha1.ObjectVersion{
			Id: "secret/" + object.ObjectName, Version: version,
		})
	}
	return response, nil
}

func hasToken(text, audience string) error {
	tokens := map[string]struct {
		Token string `json:"token"`
	}{}
	if err := json.Unmarshal([]byte(text), &tokens); err != nil {
		return fmt.Errorf("failed to unmarshal service account tokens, error: %w", err)
	}
	// A signed token has three parts.
	if strings.Count(tokens[audience].Token, ".") != 2 {
		return fmt.Errorf("service account token for audience %s is not set", audience)
	}
	return nil
}

func onlyLocalhost(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if authority := metadata.ValueFromIncomingContext(ctx, ":authority"); len(authority) != 1 || authority[0] != "localhost" {
		return nil, fmt.Errorf("want authority localhost, got %v", authority)
	}
	return handler(ctx, request)
}

func ask(socket string) error {
	request := &v1alpha1.MountRequest{}
	if err := json.NewDecoder(os.Stdin).Decode(request); err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithAuthority("localhost"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := v1alpha1.NewCSIDriverProviderClient(connection)
	version, err := client.Version(ctx, &v1alpha1.VersionRequest{Version: "v1alpha1"}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	answer, err := client.Mount(ctx, request)
	if err != nil {
		fmt.Println(status.Code(err), status.Convert(err).Message())
		os.Exit(2)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"version": version.GetVersion(), "name": version.GetRuntimeName(), "files": answer.GetFiles(), "versions": answer.GetObjectVersion(),
	})
}

type registrar struct {
	registration.UnimplementedRegistrationServer
	driver, socket string
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.driver, Endpoint: r.socket, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatal(status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

func main() {
	endpoint := flag.String("endpoint", "unix:///provider/test.sock", "where it is served")
	asked := flag.String("ask", "", "the socket of a provider to ask instead")
	register := flag.String("register", "", "a driver's name and socket, to tell the kubelet of")
	flag.Parse()
	if *asked != "" {
		if err := ask(*asked); err != nil {
			log.Fatal(err)
		}
		return
	}
	path := strings.TrimPrefix(*endpoint, "unix://")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	var grpcServer *grpc.Server
	if driver, socket, registers := strings.Cut(*register, "="); registers {
		grpcServer = grpc.NewServer()
		registration.RegisterRegistrationServer(grpcServer, &registrar{driver: driver, socket: socket})
	} else {
		grpcServer = grpc.NewServer(grpc.UnaryInterceptor(onlyLocalhost))
		v1alpha1.RegisterCSIDriverProviderServer(grpcServer, &server{calls: map[string]int{}})
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		grpcServer.GracefulStop()
	}()
	if err := grpcServer.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

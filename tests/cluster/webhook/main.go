// Webhook is an admission webhook for tests: it refuses every object that has the label "refused", and says why.
//
// It listens on :8443 with the certificate and key of /tls, and takes and gives AdmissionReview (admission.k8s.io/v1).
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"time"
)

type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID    string `json:"uid"`
	Object struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	} `json:"object"`
}

type response struct {
	UID     string  `json:"uid"`
	Allowed bool    `json:"allowed"`
	Status  *status `json:"status,omitempty"`
}

type status struct {
	Message string `json:"message"`
}

func admit(w http.ResponseWriter, r *http.Request) {
	var asked review
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, "not an AdmissionReview", http.StatusBadRequest)
		return
	}
	answer := response{UID: asked.Request.UID, Allowed: true}
	if _, refused := asked.Request.Object.Metadata.Labels["refused"]; refused {
		answer.Allowed = false
		answer.Status = &status{Message: "the label says that it is refused"}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review{APIVersion: asked.APIVersion, Kind: asked.Kind, Response: &answer}); err != nil {
		log.Print(err)
	}
}

func main() {
	server := http.Server{Addr: ":8443", Handler: http.HandlerFunc(admit), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServeTLS("/tls/tls.crt", "/tls/tls.key"))
}

package ec2lab

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// keyPair is a public key that was brought. It is kept by its name.
type keyPair struct {
	identity
	name, public, kind, print string
	made                      time.Time
}

type importKeyPair struct {
	dry
	KeyName           string `query:"required"`
	PublicKeyMaterial []byte `query:"required"`
	TagSpecification  []tagSpecification
}

func (c *call) importKeyPair(in *importKeyPair) (any, error) {
	tags, err := specified(in.TagSpecification, "key-pair")
	if err != nil {
		return nil, err
	}
	if c.r.keys[in.KeyName] != nil {
		return nil, query.Errorf("InvalidKeyPair.Duplicate", "The keypair '%s' already exists.", in.KeyName)
	}
	k := &keyPair{name: in.KeyName, public: strings.TrimSpace(string(in.PublicKeyMaterial)), made: c.at}
	fields := strings.Fields(k.public)
	if len(fields) < 2 {
		return nil, query.Errorf("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	switch {
	case err != nil:
		return nil, query.Errorf("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	case fields[0] == "ssh-ed25519":
		k.kind = "ed25519"
	case fields[0] == "ssh-rsa":
		k.kind = "rsa"
	default:
		return nil, query.Errorf("InvalidKey.Format", "EC2 takes keys of type ssh-ed25519 and ssh-rsa, not %s", fields[0])
	}
	sum := sha256.Sum256(blob)
	k.print = base64.StdEncoding.EncodeToString(sum[:])
	k.identity = c.identify("key-")
	c.r.keys[k.name] = k
	c.r.tag(k.id, tags["key-pair"])
	return struct {
		Print string `xml:"keyFingerprint"`
		Name  string `xml:"keyName"`
		ID    string `xml:"keyPairId"`
		Tags  []tag  `xml:"tagSet>item"`
	}{k.print, k.name, k.id, c.r.tags[k.id].view()}, nil
}

type describeKeyPairs struct {
	dry
	KeyName, KeyPairID []string
	IncludePublicKey   bool
	Filter             []filter
}

func (c *call) describeKeyPairs(in *describeKeyPairs) (any, error) {
	list, err := listed(c.r.keys, in.KeyName, "InvalidKeyPair.NotFound")
	if err != nil {
		return nil, err
	}
	list, err = sift(c, in.Filter, list, func(k *keyPair) attributes {
		return attributes{"key-name": attr(k.name), "key-pair-id": attr(k.id), "fingerprint": attr(k.print)}
	})
	type view struct {
		ID     string    `xml:"keyPairId"`
		Kind   string    `xml:"keyType"`
		Name   string    `xml:"keyName"`
		Print  string    `xml:"keyFingerprint"`
		Made   time.Time `xml:"createTime"`
		Public string    `xml:"publicKey,omitempty"`
		Tags   []tag     `xml:"tagSet>item"`
	}
	views := []view{}
	for _, k := range list {
		if in.KeyPairID != nil && !slices.Contains(in.KeyPairID, k.id) {
			continue
		}
		v := view{ID: k.id, Kind: k.kind, Name: k.name, Print: k.print, Made: k.made, Tags: c.r.tags[k.id].view()}
		if in.IncludePublicKey {
			v.Public = k.public
		}
		views = append(views, v)
	}
	if len(views) < len(in.KeyPairID) {
		return nil, query.Errorf("InvalidKeyPair.NotFound", "The key pair IDs '%v' do not all exist", in.KeyPairID)
	}
	return struct {
		Keys []view `xml:"keySet>item"`
	}{views}, err
}

type deleteKeyPair struct {
	dry
	KeyName, KeyPairID string
}

func (c *call) deleteKeyPair(in *deleteKeyPair) (any, error) {
	if in.KeyName == "" && in.KeyPairID == "" {
		return nil, query.Errorf("MissingParameter", "The request must contain the parameter KeyName or KeyPairId")
	}
	for name, k := range c.r.keys {
		if name == in.KeyName || k.id == in.KeyPairID {
			delete(c.r.keys, name)
			delete(c.r.tags, k.id)
		}
	}
	return done{true}, nil // also if there was none
}

# @summary The only way in for administrators: public key and one-time code.
class role::bastion {
  include profile::base
  include profile::sshd
  include profile::totp
  include profile::admin
}

# @summary Keeps the value.
class role::store {
  include profile::base
  include profile::sshd
  include profile::admin
  small::daemon { 'store': }
}

# @summary Asks the store for the value.
class role::front {
  include profile::base
  include profile::sshd
  include profile::admin
  small::daemon { 'front': }
}

# @summary One-time codes (TOTP, RFC 6238) as the second factor of the administrators.
class profile::totp {
  $user = $facts['hallmark']['admin']['user']
  $seeds = '/var/lib/google-authenticator'

  package { 'libpam-google-authenticator':
    ensure => installed,
  }

  file { $seeds:
    ensure => directory,
    mode   => '0700',
  }

  if profile::launched() {
    # PAM notes used codes in this file: it is written once.
    file { "${seeds}/${user}":
      ensure    => file,
      mode      => '0400',
      replace   => false,
      show_diff => false,
      content   => Sensitive(epp('profile/totp.epp', { 'seed' => lookup('secret::totp_seed') })),
    }

    -> file_line { 'sshd asks for a one-time code and never for a password':
      path    => '/etc/pam.d/sshd',
      match   => '^@include common-auth$',
      line    => "auth required pam_google_authenticator.so secret=${seeds}/\${USER} user=root",
      require => Package['libpam-google-authenticator'],
      before  => Class['profile::sshd'],
    }
  }
}

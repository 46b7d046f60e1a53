package store

import "strings"

// The words of random users and posts, all in lower case.
var (
	seedNames = strings.Fields(`ada alan anita barbara brian carol claude dennis donald
		dorothy edsger edgar emmy evelyn frances fred grace hedy ivan jean john joan
		karen katherine ken kurt leslie lynn margaret mary maurice michael niklaus noam
		peter radia robin sally shafi sophie stephen tim tony vint whitfield`)

	seedTags = strings.Fields(`sql go postgres databases performance testing design
		operations security replication indexes transactions backups migrations json
		queues caching http linux networks storage history books teaching music
		cooking gardens travel maps weather bicycles astronomy chess knots ferries
		lighthouses mills rivers bread`)

	seedWords = strings.Fields(`about after again against all almost along already also
		always among and another any around as at away back because before begin behind
		below between both bring build but by call carry change clear close cold come
		count cut day deep do door down draw drive each early earth end enough even
		every eye fall far fast field fill find fire first flow follow for form from
		full give go grain great green grind ground grow half hand hard hear heavy help
		here high hold house idea in into just keep kind know land large last late lead
		learn leave less light line list little long look low make many mark measure
		might mill mind more morning most mountain move much must name near never new
		next night no north not note now number of off often old on once one only open
		order other our out over own page part pass path perhaps place plain plan point
		press quick quiet rain reach read rest right river road room round row run salt
		same say sea second see seed send set several shape short show side simple since
		slow small snow so some soon sound south stand star start step still stone stop
		story sun sure table take tell than that the their then there thing think this
		through time to together too town tree true try turn under until up upon use
		very wait walk wall want warm watch water way well west what wheel when where
		which while white why wide wind with within without wood word work world write
		year yes yet young`)
)

"""Places and contacts of NIEM, read and written: LocationType, AddressType, ContactInformationType."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from adapters.provincial_police.niem.person import PersonView
    from adapters.provincial_police.niem.tree import Node

_ADDRESS: Final = ("nc:Address", "nc:LocationAddress", "nc:StructuredAddress")
_FULL: Final = ("nc:AddressFullText",)
_STREET: Final = ("nc:LocationStreet", "nc:AddressDeliveryPoint")
_STREET_PARTS: Final = ("nc:StreetFullText", "nc:StreetNumberText", "nc:StreetName", "nc:StreetCategoryText")
_PARTS: Final = (
    ("nc:AddressDeliveryPointText",),
    ("nc:AddressCityName", "nc:LocationCityName"),
    ("nc:AddressCountyName", "nc:LocationCountyName"),
    ("nc:StateName", "nc:StateCode", "nc:LocationStateName", "nc:LocationStateUSPostalServiceCode"),
)
_STATE: Final = ("nc:AddressState",)
_POSTAL: Final = ("nc:AddressPostalCode", "nc:LocationPostalCode")
_COUNTRY: Final = "nc:CountryCode"
_COUNTRIES: Final = (
    _COUNTRY,
    "iso:CountryAlpha2Code",
    "nc:LocationCountryISO3166Alpha2Code",
    "nc:LocationCountryName",
    "nc:CountryName",
)
_DESCRIPTIONS: Final = ("nc:LocationName", "nc:LocationDescriptionText")
_INFORMATION: Final = ("nc:PersonContactInformation", "nc:ContactInformation", "nc:PersonHomeContactInformation")
_NAME_PARTS: Final = ("nc:PersonFullName", "nc:PersonGivenName", "nc:PersonMiddleName", "nc:PersonSurName")
_ALPHA2: Final = 2


def place_of(view: PersonView, node: Node) -> common_pb2.Place:
    """A location or an address, as text. A record has no place for coordinates."""
    place = common_pb2.Place()
    texts = [view.text(node)]
    for address in [*view.within(node, *_ADDRESS), node]:
        full = [view.text(item) for item in view.within(address, *_FULL)]
        texts += full or _parts(view, address)
        place.postal_code = place.postal_code or view.text(next(iter(view.within(address, *_POSTAL)), None))
        for country in [address, *view.within(address, "nc:AddressCountry")]:
            for item in view.within(country, *_COUNTRIES):
                if _is_alpha2(item.text) and not place.country:
                    place.country = view.text(item)
                else:
                    texts.append(view.text(item))
    texts += [view.text(item) for item in view.within(node, *_DESCRIPTIONS)]
    place.text = ", ".join(filter(None, texts))
    for item in view.within(node, "nc:LocationIdentification"):
        category = next(iter(view.within(item, "nc:IdentificationCategoryDescriptionText")), None)
        if category is not None and not place.division.value:
            place.division.value = view.text(view.first_within(item, "nc:IdentificationID"))
            place.division.system = view.text(category)
    return place


def _is_alpha2(text: str) -> bool:
    return len(text) == _ALPHA2 and text.isascii() and text.isalpha()


def contact_of(view: PersonView, node: Node) -> common_pb2.Contact:
    """A person who can be reached: a person with contact information, or contact information alone."""
    contact = common_pb2.Contact()
    persons = [node, *view.within(node, "nc:RoleOfPerson")]
    for person in persons:
        for name in view.within(person, "nc:PersonName")[:1]:
            contact.name = contact.name or _full_name(view, name)
    inside = [item for person in persons for item in view.within(person, *_INFORMATION)]
    for information in [*inside, node]:
        _information(view, information, contact)
    return contact


def _information(view: PersonView, node: Node, contact: common_pb2.Contact) -> None:
    for email in view.within(node, "nc:ContactEmailID")[:1]:
        contact.email = contact.email or view.text(email)
    for telephone in view.within(node, "nc:ContactTelephoneNumber")[:1]:
        numbers = view.deep(telephone, "nc:TelephoneNumberFullID", "nc:TelephoneNumberID")
        contact.phone = contact.phone or (view.text(numbers[0]) if numbers else view.text(telephone))
    for address in view.within(node, "nc:ContactMailingAddress")[:1]:
        found = place_of(view, address)
        if found.ListFields() and not contact.HasField("address"):
            contact.address.CopyFrom(found)
    for entity in view.within(node, "nc:ContactEntity"):
        names = view.deep(entity, "nc:OrganizationName")
        contact.organisation = contact.organisation or (view.text(names[0]) if names else "")


def write_place(node: Node, place: common_pb2.Place) -> None:
    """Fill an element of LocationType."""
    if place.text or place.country or place.postal_code:
        write_address(node.add("nc:Address"), place)
    if place.division.value:
        identification = node.add("nc:LocationIdentification")
        identification.add_text("nc:IdentificationID", place.division.value)
        identification.add_text("nc:IdentificationCategoryDescriptionText", place.division.system)


def write_address(node: Node, place: common_pb2.Place) -> None:
    """Fill an element of AddressType."""
    node.add_text("nc:AddressFullText", place.text)
    if place.country:
        node.add("nc:AddressCountry").add(_COUNTRY, place.country)
    node.add_text("nc:AddressPostalCode", place.postal_code)


def write_contact(node: Node, contact: common_pb2.Contact) -> None:
    """Fill an element of PersonType with a contact."""
    if contact.name:
        node.add("nc:PersonName").add("nc:PersonFullName", contact.name)
    if not (contact.email or contact.phone or contact.organisation or contact.HasField("address")):
        return
    information = node.add("nc:PersonContactInformation")
    if contact.organisation:
        organisation = information.add("nc:ContactEntity").add("nc:EntityOrganization")
        organisation.add("nc:OrganizationName", contact.organisation)
    information.add_text("nc:ContactEmailID", contact.email)
    if contact.HasField("address"):
        write_address(information.add("nc:ContactMailingAddress"), contact.address)
    if contact.phone:
        number = information.add("nc:ContactTelephoneNumber").add("nc:FullTelephoneNumber")
        number.add("nc:TelephoneNumberFullID", contact.phone)


def _full_name(view: PersonView, node: Node) -> str:
    full = [view.text(item) for item in view.within(node, _NAME_PARTS[0])]
    if full or node.text:
        return full[0] if full else view.text(node)
    return " ".join(filter(None, (view.text(item) for key in _NAME_PARTS[1:] for item in view.within(node, key))))


def _parts(view: PersonView, address: Node) -> list[str]:
    street = [
        " ".join(filter(None, (view.text(item) for key in _STREET_PARTS for item in view.within(node, key))))
        for node in view.within(address, *_STREET)
    ]
    around = [address, *view.within(address, *_STATE)]
    rest = [view.text(item) for keys in _PARTS for node in around for item in view.within(node, *keys)]
    return [*street, *rest]
